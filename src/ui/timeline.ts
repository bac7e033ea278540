import type { LoopEvent } from "../base/events.ts";
import { type Checkpoint, emptyModel, type LoopModel, reduce } from "./model.ts";

/** Models of all prefixes of a growing event log, each folded once: `at(n)` is the model after n events. */
export class Timeline {
  readonly #events: LoopEvent[] = [];
  readonly #models: LoopModel[] = [emptyModel];

  get length(): number {
    return this.#events.length;
  }

  get events(): readonly LoopEvent[] {
    return this.#events;
  }

  /** Adds events in order. A seq already known is skipped; a gap throws, since a model with holes would lie. */
  append(events: readonly LoopEvent[]): void {
    for (const event of events) {
      const expected = this.#events.length;
      if (event.seq < expected) continue;
      if (event.seq > expected)
        throw new Error(`The event log has a gap: expected event ${expected}, got ${event.seq}.`);
      this.#events.push(event);
    }
  }

  /** Model after the first `count` events; `count` is clamped to what is known. */
  at(count: number): LoopModel {
    const target = Math.max(0, Math.min(Math.trunc(count), this.#events.length));
    for (let done = this.#models.length - 1; done < target; done += 1) {
      this.#models.push(reduce(this.#models[done] as LoopModel, this.#events[done] as LoopEvent));
    }
    return this.#models[target] as LoopModel;
  }

  /** Checkpoints of the whole log. */
  checkpoints(): readonly Checkpoint[] {
    return this.at(this.#events.length).checkpoints;
  }

  /** Nearest checkpoint before (-1) or after (+1) `position`, as a number of events; null at the end. */
  neighbour(position: number, direction: -1 | 1): number | null {
    const places = this.checkpoints().map((checkpoint) => checkpoint.at);
    if (direction === 1) return places.find((place) => place > position) ?? null;
    return places.findLast((place) => place < position) ?? null;
  }
}
