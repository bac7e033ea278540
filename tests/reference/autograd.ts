/**
 * Reverse-mode differentiation of scalars in f64, small enough to be checked by eye: every node stores its parents and
 * the partial derivatives towards them. The whole-model reference is written on it.
 */
export type Var = number; // index of a node on the tape

export class Tape {
  readonly value: number[] = [];
  private readonly first: number[] = []; // where a node's parents begin
  private readonly parent: number[] = [];
  private readonly partial: number[] = [];

  private node(value: number, parents: readonly Var[], partials: readonly number[]): Var {
    this.first.push(this.parent.length);
    for (const [i, parent] of parents.entries()) {
      this.parent.push(parent);
      this.partial.push(partials[i] as number);
    }
    return this.value.push(value) - 1;
  }

  of(x: Var): number {
    return this.value[x] as number;
  }

  /** A constant, or a variable whose gradient is asked for. */
  leaf(value: number): Var {
    return this.node(value, [], []);
  }

  leaves(values: ArrayLike<number>): Var[] {
    return Array.from(values, (value) => this.leaf(value));
  }

  add(a: Var, b: Var): Var {
    return this.node(this.of(a) + this.of(b), [a, b], [1, 1]);
  }

  mul(a: Var, b: Var): Var {
    return this.node(this.of(a) * this.of(b), [a, b], [this.of(b), this.of(a)]);
  }

  scale(a: Var, k: number): Var {
    return this.node(this.of(a) * k, [a], [k]);
  }

  shift(a: Var, k: number): Var {
    return this.node(this.of(a) + k, [a], [1]);
  }

  exp(a: Var): Var {
    const e = Math.exp(this.of(a));
    return this.node(e, [a], [e]);
  }

  log(a: Var): Var {
    return this.node(Math.log(this.of(a)), [a], [1 / this.of(a)]);
  }

  /** a to a constant power. */
  power(a: Var, k: number): Var {
    return this.node(this.of(a) ** k, [a], [k * this.of(a) ** (k - 1)]);
  }

  sum(terms: readonly Var[]): Var {
    return this.node(
      terms.reduce((total, term) => total + this.of(term), 0),
      terms,
      terms.map(() => 1),
    );
  }

  dot(a: readonly Var[], b: readonly Var[]): Var {
    let total = 0;
    for (const [i, x] of a.entries()) total += this.of(x) * this.of(b[i] as Var);
    return this.node(total, [...a, ...b], [...b.map((y) => this.of(y)), ...a.map((x) => this.of(x))]);
  }

  /** log Σ exp, shifted by the largest value so that it cannot overflow. */
  logSumExp(terms: readonly Var[]): Var {
    const top = Math.max(...terms.map((term) => this.of(term)));
    return this.shift(this.log(this.sum(terms.map((term) => this.exp(this.shift(term, -top))))), top);
  }

  /** A function whose value and partial derivatives the caller knows. */
  custom(value: number, parents: readonly Var[], partials: readonly number[]): Var {
    return this.node(value, parents, partials);
  }

  /** Derivative of `root` with respect to every node. */
  gradients(root: Var): Float64Array {
    const grad = new Float64Array(this.value.length);
    grad[root] = 1;
    for (let i = root; i >= 0; i--) {
      const own = grad[i] as number;
      if (own === 0) continue;
      const end = i + 1 < this.first.length ? (this.first[i + 1] as number) : this.parent.length;
      for (let j = this.first[i] as number; j < end; j++) {
        const at = this.parent[j] as number;
        grad[at] = (grad[at] as number) + own * (this.partial[j] as number);
      }
    }
    return grad;
  }
}
