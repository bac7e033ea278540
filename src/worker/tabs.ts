/**
 * One tab writes, every other one looks on. The pen is a Web Lock: the browser takes it from a tab that is closed or
 * crashes and gives it to the one that has waited longest. Over a BroadcastChannel the writer tells which run it works
 * on; what was committed the others read from the store, so nothing that they show can be lost on the way.
 */
import type { Progress } from "../base/events.ts";
import { penLock, type RunState, type TabRole } from "./api.ts";

type Message =
  /** A tab that looks on asks the writer what it does. */
  | { readonly kind: "who" }
  /** The writer's run. */
  | { readonly kind: "here"; readonly state: RunState | null }
  | { readonly kind: "progress"; readonly progress: Progress }
  /** A tab that looks on wants the pen. */
  | { readonly kind: "hand-over" }
  /** The writer has ended its workers: the pen may be taken from it. */
  | { readonly kind: "let-go" };

export interface TabParts {
  /** Absent on plain HTTP, where nothing trains and nothing needs a lock. */
  readonly locks: Pick<LockManager, "request"> | undefined;
  readonly channel: BroadcastChannel;
  /** Ends everything of this tab that could write. */
  letGo(): Promise<void>;
  onRole(role: TabRole): void;
  /** Only in a tab that looks on. */
  onElsewhere(state: RunState | null): void;
  onProgress(progress: Progress): void;
}

/** A writer that does not answer for this long has its pen taken: its commits would be refused as stale. */
const ANSWER_MS = 5000;

export class Tabs {
  private readonly parts: TabParts;
  private role: TabRole = "reader";
  private state: RunState | null = null;
  private waiting: AbortController | null = null;
  private answered: () => void = () => {};
  private readonly known: Promise<void>;

  constructor(parts: TabParts) {
    this.parts = parts;
    parts.channel.onmessage = ({ data }: MessageEvent<Message>) => this.hear(data);
    const { locks } = parts;
    if (!locks) {
      this.role = "writer";
      this.known = Promise.resolve();
      return;
    }
    this.known = new Promise((known) => {
      locks
        .request(penLock, { ifAvailable: true }, (pen) => {
          if (pen) return this.write(known);
          this.wait();
          this.tell({ kind: "who" });
          known();
          return undefined;
        })
        .catch((error) => this.lose(error));
    });
  }

  /** Settles when the browser has said whether the pen is free. */
  async settled(): Promise<TabRole> {
    await this.known;
    return this.role;
  }

  get writes(): boolean {
    return this.role === "writer";
  }

  /** The writer's run has changed (or its list of runs): every tab that looks on is told. */
  show(state: RunState | null): void {
    this.state = state;
    if (this.writes) this.tell({ kind: "here", state });
  }

  showProgress(progress: Progress): void {
    if (this.writes) this.tell({ kind: "progress", progress });
  }

  /** Resolves when this tab writes. */
  async takeOver(): Promise<void> {
    if (this.writes) return;
    const letGo = new Promise<void>((resolve) => {
      this.answered = resolve;
    });
    this.tell({ kind: "hand-over" });
    await Promise.race([letGo, new Promise((resolve) => setTimeout(resolve, ANSWER_MS))]);
    this.waiting?.abort();
    await new Promise<void>((resolve) => {
      this.parts.locks?.request(penLock, { steal: true }, () => this.write(resolve)).catch((error) => this.lose(error));
    });
  }

  close(): void {
    this.waiting?.abort();
    this.parts.channel.close();
  }

  /** Holds the pen until another tab takes it or this one is gone. */
  private write(begun: () => void): Promise<never> {
    this.waiting = null;
    this.role = "writer";
    this.parts.onRole("writer");
    this.show(this.state);
    begun();
    return new Promise(() => {});
  }

  private wait(): void {
    this.waiting = new AbortController();
    const { signal } = this.waiting;
    this.parts.locks
      ?.request(penLock, { signal }, () => this.write(() => {}))
      .catch((error) => {
        if (!signal.aborted) this.lose(error);
      });
  }

  /** Another tab took the pen; any other error is a bug. */
  private lose(error: unknown): void {
    if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
    if (this.writes) void this.stopWriting();
    this.wait();
  }

  private async stopWriting(): Promise<void> {
    this.role = "reader";
    this.state = null;
    await this.parts.letGo();
    this.parts.onRole("reader");
  }

  private hear(message: Message): void {
    if (this.writes) {
      if (message.kind === "who") this.tell({ kind: "here", state: this.state });
      if (message.kind === "hand-over") void this.stopWriting().then(() => this.tell({ kind: "let-go" }));
      return;
    }
    if (message.kind === "here") this.parts.onElsewhere(message.state);
    if (message.kind === "progress") this.parts.onProgress(message.progress);
    if (message.kind === "let-go") this.answered();
  }

  private tell(message: Message): void {
    this.parts.channel.postMessage(message);
  }
}
