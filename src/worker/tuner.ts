/**
 * Tunes the matrix product's kernels while nothing is going on, for the products that this worker's plans were made of.
 * The result is for the next run: a run that is open keeps its kernels, and none is ever open while this measures.
 */
import type { ProductShape } from "../ops/context.ts";
import { shapeKey } from "../ops/variants.ts";

export interface TunerParts {
  /** No run is open, or it has ended. */
  idle(): boolean;
  /**
   * Tunes shape by shape and keeps the winners; shapes that the adapter's table has are passed over. `another` is asked
   * before each shape, `goOn` before each measurement; at a no it ends.
   */
  tune(shapes: readonly ProductShape[], another: () => boolean, goOn: () => Promise<boolean>): Promise<void>;
  now(): number;
  rest(ms: number): Promise<void>;
}

/** Quiet before it begins, in ms. */
const QUIET_MS = 3000;
/**
 * Measuring in one go, in ms; then it is quiet again. A shape that was begun is finished, so that a slow machine, where
 * one takes longer than this, gets on with its table all the same.
 */
const BUDGET_MS = 4000;
/** Rest between two measurements, in ms: the GPU draws the desktop meanwhile. */
const REST_MS = 25;
/** Shapes tuned: those with the most work. */
const SHAPES = 24;

export class Tuner {
  private readonly parts: TunerParts;
  private readonly shapes = new Map<string, { shape: ProductShape; work: number }>();
  private hidden = false;
  /** Grows with every sign of life; what began before it ends. */
  private epoch = 0;
  private working: Promise<void> = Promise.resolve();

  constructor(parts: TunerParts) {
    this.parts = parts;
  }

  /** A product of a plan: rows vary, and shapes that share a key are tuned by the largest of them. */
  asked(shape: ProductShape): void {
    const key = shapeKey(shape.product, shape.R, shape.K, shape.N);
    const known = this.shapes.get(key);
    const work = shape.R * shape.K * shape.N + (known?.work ?? 0);
    this.shapes.set(key, { shape: known && known.shape.R > shape.R ? known.shape : shape, work });
  }

  /** The page can be seen or not: nothing is measured in the background, where clocks and priorities differ. */
  hide(hidden: boolean): void {
    this.hidden = hidden;
    if (hidden) this.epoch++;
    else this.wake();
  }

  /** Something is asked of the engine: resolves when the measurement in flight has ended, within a few ms. */
  async makeWay(): Promise<void> {
    this.epoch++;
    await this.working;
  }

  /** Begins after a while of quiet, if nothing comes between. */
  wake(): void {
    const epoch = ++this.epoch;
    void this.parts.rest(QUIET_MS).then(() => {
      if (!this.quiet(epoch)) return;
      this.working = this.work(epoch).catch(() => undefined); // a tuning that failed leaves the defaults
    });
  }

  private quiet(epoch: number): boolean {
    return this.epoch === epoch && !this.hidden && this.parts.idle();
  }

  private async work(epoch: number): Promise<void> {
    const { now, rest, tune } = this.parts;
    const until = now() + BUDGET_MS;
    const most = [...this.shapes.values()].sort((a, b) => b.work - a.work).slice(0, SHAPES);
    await tune(
      most.map(({ shape }) => shape),
      () => now() < until,
      async () => {
        await rest(REST_MS);
        return this.quiet(epoch);
      },
    );
  }
}
