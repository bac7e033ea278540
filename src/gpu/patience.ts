/** Runs a task in the next turn of the event loop: Node's setImmediate. */
export type NextTurn = (task: () => void) => unknown;

/**
 * Waiting for the GPU without working. Dawn in Node asks for the end of GPU work once a turn of the event loop, in a busy loop
 * that takes half of a two-core software adapter away; so a turn sleeps. Browsers wake us by themselves: there
 * `nextTurn` is null, and nothing sleeps.
 */
export class Patience {
  private readonly nextTurn: NextTurn | null;
  private readonly cell: Int32Array | null;

  constructor(nextTurn: NextTurn | null) {
    this.nextTurn = nextTurn;
    this.cell = nextTurn && new Int32Array(new SharedArrayBuffer(4)); // to sleep on
  }

  async around<T>(wait: () => Promise<T>): Promise<T> {
    const { cell, nextTurn } = this;
    if (!cell || !nextTurn) return wait();
    const began = performance.now();
    let waiting = true;
    const turn = () => {
      if (!waiting) return;
      const ms = performance.now() - began;
      // A short wait is over before a sleep would be; a long one is not noticed a tenth later.
      if (ms > SPIN_MS) Atomics.wait(cell, 0, 0, Math.min(LONGEST_MS, ms / 10));
      nextTurn(turn);
    };
    nextTurn(turn);
    try {
      return await wait();
    } finally {
      waiting = false;
    }
  }
}

const SPIN_MS = 0.3;
const LONGEST_MS = 2;
