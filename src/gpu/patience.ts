/**
 * Sleeping through most of a wait. Dawn in Node polls for the end of GPU work in a busy loop, which takes a core away
 * from a software adapter; so the wait is predicted from earlier ones and slept through before the polling begins.
 * Browsers wake us by themselves: there `patient` is false and nothing sleeps.
 */
export class Patience {
  private readonly patient: boolean;
  /** Milliseconds per floating-point operation, by plan. */
  private readonly cost = new Map<string, number>();
  private pending = new Map<string, number>();
  private since = 0;

  constructor(patient: boolean) {
    this.patient = patient;
  }

  submitted(label: string, flops: number): void {
    if (!this.patient) return;
    if (this.pending.size === 0) this.since = performance.now();
    this.pending.set(label, (this.pending.get(label) ?? 0) + flops);
  }

  /** Runs `wait`, after a sleep of most of its expected time. */
  async around<T>(wait: () => Promise<T>): Promise<T> {
    if (!this.patient || this.pending.size === 0) return wait();
    const { pending, since } = this;
    this.pending = new Map();
    let expected = 0;
    for (const [label, flops] of pending) expected += flops * (this.cost.get(label) ?? 0);
    const left = 0.85 * expected - (performance.now() - since);
    if (left > 2) await new Promise((resolve) => setTimeout(resolve, left));
    const polled = performance.now();
    const result = await wait();
    const now = performance.now();
    let flopsAll = 0;
    for (const flops of pending.values()) flopsAll += flops;
    for (const label of pending.keys()) {
      const old = this.cost.get(label);
      // The first run of a plan also compiles its kernels, so it teaches nothing. A wait that was over when the
      // polling began says only that the prediction was too long.
      if (old === undefined) this.cost.set(label, 0);
      else if (expected === 0) this.cost.set(label, (now - since) / Math.max(1, flopsAll));
      else if (left > 2 && now - polled < 1) this.cost.set(label, 0.6 * old);
      else this.cost.set(label, old * (0.5 + (0.5 * (now - since)) / expected));
    }
    return result;
  }
}
