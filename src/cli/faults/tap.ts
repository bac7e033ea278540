/** Counts what a run does, point by point, and strikes when one of them comes round for the chosen time. */

/** What a point lets a fault do, beside throwing. */
export interface Scene {
  /** Does a part of the write that is about to happen, as a process that dies in it would. */
  readonly partly?: () => void;
  /** Ends the transaction that the write belongs to, right after this write. */
  readonly abort?: () => void;
  /** The next process finds the disk as it is now, whatever this one still does. */
  readonly freeze?: () => void;
}

export type Strike = (scene: Scene) => void;

export class Tap {
  /** How often each point came round. */
  readonly counts = new Map<string, number>();
  private armed: { readonly point: string; readonly index: number; readonly strike: Strike } | null = null;
  /** Called at every point, before the armed fault. */
  readonly always: Strike[] = [];

  /** `strike` is called when `point` comes round for the time `index` (0 is the first); what it throws, the point throws. */
  arm(point: string, index: number, strike: Strike): void {
    this.armed = { point, index, strike };
  }

  /** Has the armed fault not struck yet? */
  get waiting(): boolean {
    return this.armed !== null;
  }

  hit(point: string, scene: Scene = {}): void {
    const index = this.counts.get(point) ?? 0;
    this.counts.set(point, index + 1);
    for (const strike of this.always) strike(scene);
    if (this.armed?.point !== point || this.armed.index !== index) return;
    const { strike } = this.armed;
    this.armed = null;
    strike(scene);
  }
}
