import type { Plan } from "./plan.ts";

/**
 * Plans by their shapes. When those that are kept hold more than `limitBytes`, the least recently used go; the one that
 * was asked for last always stays, however large it is.
 */
export class PlanCache<T extends { readonly plan: Plan }> {
  private readonly entries = new Map<string, Promise<T>>();
  private readonly limitBytes: number;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  /** The plan of `key`, built if it is not there. Calls must not overlap. */
  async get(key: string, build: () => Promise<T>): Promise<T> {
    const entry = this.entries.get(key) ?? build();
    this.entries.delete(key); // set again: the map is in the order of last use
    this.entries.set(key, entry);
    const built = await entry.catch((error: unknown) => {
      this.entries.delete(key);
      throw error;
    });
    await this.shrink();
    return built;
  }

  private async shrink(): Promise<void> {
    const all = await Promise.all([...this.entries].map(async ([key, entry]) => [key, (await entry).plan] as const));
    let bytes = all.reduce((sum, [, plan]) => sum + plan.bytes, 0);
    for (const [key, plan] of all.slice(0, -1)) {
      if (bytes <= this.limitBytes) return;
      this.entries.delete(key);
      bytes -= plan.bytes;
      plan.destroy();
    }
  }

  async destroy(): Promise<void> {
    for (const entry of this.entries.values()) (await entry).plan.destroy();
    this.entries.clear();
  }
}
