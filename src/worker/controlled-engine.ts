/**
 * The engine with a brake: one call at a time, a hold before the next call while the run is paused, an interruption
 * when it is stopped. A visitor's question takes its turn between two calls of the loop.
 */
import type { AdapterSnapshot, EnginePort } from "../loop/ports.ts";
import { WorkerError } from "./rpc.ts";

export class Interrupted extends WorkerError {
  constructor() {
    super("busy", "The run was stopped.");
    this.name = "Interrupted";
  }
}

export class ControlledEngine implements EnginePort {
  private engine: EnginePort;
  private tail: Promise<unknown> = Promise.resolve();
  private held: { readonly until: Promise<void>; readonly release: () => void } | null = null;
  private interrupted = false;

  constructor(engine: EnginePort) {
    this.engine = engine;
  }

  get device() {
    return this.engine.device;
  }

  get base() {
    return this.engine.base;
  }

  /** No call of the loop begins until `release`; the one in flight ends. */
  hold(): void {
    if (this.held) return;
    let release = (): void => {};
    const until = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.held = { until, release };
  }

  /** Calls may go on, after a hold or an interruption. */
  release(): void {
    this.interrupted = false;
    this.letGo();
  }

  /** The next call of the loop throws Interrupted, also one that is held. */
  interrupt(): void {
    this.interrupted = true;
    this.letGo();
  }

  /** Another engine from the next call on, one whose device is not lost; a hold or an interruption stays. */
  replace(engine: EnginePort): void {
    this.engine = engine;
    this.tail = Promise.resolve();
  }

  private letGo(): void {
    this.held?.release();
    this.held = null;
  }

  /** A call that does not belong to the loop: it waits for its turn, not for a release. */
  aside<T>(work: (engine: EnginePort) => Promise<T>): Promise<T> {
    return this.turn(() => work(this.engine));
  }

  private turn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.tail.then(work);
    this.tail = result.catch(() => undefined);
    return result;
  }

  private async call<T>(work: () => Promise<T>): Promise<T> {
    while (this.held) await this.held.until;
    if (this.interrupted) throw new Interrupted();
    return this.turn(work);
  }

  sample(...args: Parameters<EnginePort["sample"]>): ReturnType<EnginePort["sample"]> {
    return this.call(() => this.engine.sample(...args));
  }

  greedy(...args: Parameters<EnginePort["greedy"]>): ReturnType<EnginePort["greedy"]> {
    return this.call(() => this.engine.greedy(...args));
  }

  logprobs(...args: Parameters<EnginePort["logprobs"]>): ReturnType<EnginePort["logprobs"]> {
    return this.call(() => this.engine.logprobs(...args));
  }

  begin(...args: Parameters<EnginePort["begin"]>): Promise<void> {
    return this.call(() => this.engine.begin(...args));
  }

  train(...args: Parameters<EnginePort["train"]>): ReturnType<EnginePort["train"]> {
    return this.call(() => this.engine.train(...args));
  }

  snapshot(): Promise<AdapterSnapshot> {
    return this.call(() => this.engine.snapshot());
  }

  load(snapshot: AdapterSnapshot): Promise<void> {
    return this.call(() => this.engine.load(snapshot));
  }
}
