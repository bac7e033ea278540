/** Steps that are submitted before the result of the first of them is looked at, so that the GPU never waits for the host. */
const AHEAD = 2;

/** What the steps of a training are: their number, what each is fed, how it is submitted, and who looks at its result. */
export interface Steps<I, R> {
  readonly count: number;
  readonly prepare: (index: number) => I | Promise<I>;
  /** Called in order; its results may come later. */
  readonly submit: (input: I, index: number) => Promise<R>;
  /** Called in order; false ends the training. */
  readonly seen: (result: R, input: I, index: number) => boolean | Promise<boolean>;
}

/**
 * Submits steps one behind the other and looks at their results up to AHEAD steps late. Where `seen` says false, no
 * further step is submitted and the results of those on their way are dropped: a Trainer's steps change nothing after
 * one that is not finite. Settles when none is on its way any more; rejects with the first error.
 */
export async function stepsAhead<I, R>({ count, prepare, submit, seen }: Steps<I, R>): Promise<void> {
  const late: { readonly input: I; readonly result: Promise<R> }[] = [];
  let index = 0;
  const look = async (): Promise<boolean> => {
    const { input, result } = late.shift() as (typeof late)[number];
    return seen(await result, input, index++);
  };
  try {
    for (let step = 0; step < count; step++) {
      const input = await prepare(step);
      const result = submit(input, step);
      result.catch(() => {}); // `look` hears of it, unless an earlier step has ended everything
      late.push({ input, result });
      if (late.length > AHEAD && !(await look())) return;
    }
    while (late.length > 0) if (!(await look())) return;
  } finally {
    await Promise.allSettled(late.map(({ result }) => result));
  }
}
