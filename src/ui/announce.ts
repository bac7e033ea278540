import { type ReadonlySignal, signal } from "@preact/signals";

/** Milliseconds between two announcements to screen readers. */
export const announceEveryMs = 10_000;

export interface Announcer {
  readonly text: ReadonlySignal<string>;
  /** Says the newest message, at most one in `announceEveryMs`; `urgent` ones win over others that wait. */
  say(message: string, urgent?: boolean): void;
}

/** An announcer on the clock `now`; `later` calls back once after some milliseconds. */
export function createAnnouncer(clock: {
  readonly now: () => number;
  readonly later: (callback: () => void, ms: number) => unknown;
}): Announcer {
  const text = signal("");
  let saidAt = Number.NEGATIVE_INFINITY;
  let waiting: { message: string; urgent: boolean } | null = null;
  const speak = (message: string): void => {
    text.value = message;
    saidAt = clock.now();
  };
  return {
    text,
    say(message, urgent = false) {
      const wait = saidAt + announceEveryMs - clock.now();
      if (wait <= 0) return speak(message);
      const scheduled = waiting !== null;
      if (!waiting || urgent || !waiting.urgent) waiting = { message, urgent };
      if (scheduled) return;
      clock.later(() => {
        if (waiting) speak(waiting.message);
        waiting = null;
      }, wait);
    },
  };
}
