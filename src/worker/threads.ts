/** The workers of one tab: each starts at the first call that needs it, and all of them can be ended at once. */
import { proxy, type Remote, transfer, wrap } from "comlink";
import type { EngineApi, Listeners } from "./engine.worker.ts";
import type { JudgeApi } from "./judge.worker.ts";
import { gone } from "./liveness.ts";
import type { StoreApi } from "./store.worker.ts";

export interface ThreadParts {
  /** What the engine tells. */
  readonly listeners: Listeners;
  /** Addresses of the folders that engine and judge load from, ending with a slash. */
  readonly policy: string;
  readonly judge: string;
  /** A worker could not be loaded, threw, or is gone; all workers have been ended. */
  crashed(name: string, reason: string): void;
}

export class Threads {
  private readonly parts: ThreadParts;
  private readonly alive = new Set<Worker>();
  private storeRemote: { readonly thread: Worker; readonly remote: Remote<StoreApi> } | null = null;
  private engineRemote: Promise<Remote<EngineApi>> | null = null;

  constructor(parts: ThreadParts) {
    this.parts = parts;
  }

  /** Workers that are alive. */
  get count(): number {
    return this.alive.size;
  }

  get hasEngine(): boolean {
    return this.engineRemote !== null;
  }

  store(): Remote<StoreApi> {
    return this.storeThread().remote;
  }

  engine(): Promise<Remote<EngineApi>> {
    this.engineRemote ??= this.startEngine();
    return this.engineRemote;
  }

  /** Ends every worker where it stands. A commit is one transaction: it is whole or not there. */
  end(): void {
    for (const thread of this.alive) thread.terminate();
    this.alive.clear();
    this.storeRemote = null;
    this.engineRemote = null;
  }

  private storeThread(): { readonly thread: Worker; readonly remote: Remote<StoreApi> } {
    if (!this.storeRemote) {
      const thread = new Worker(new URL("./store.worker.ts", import.meta.url), { type: "module", name: "store" });
      const remote = wrap<StoreApi>(thread);
      this.storeRemote = { thread, remote };
      this.begun(thread, "store", remote);
    }
    return this.storeRemote;
  }

  private async startEngine(): Promise<Remote<EngineApi>> {
    const { thread: store } = this.storeThread();
    // The engine first: the judge has time until there are answers.
    const engine = new Worker(new URL("./engine.worker.ts", import.meta.url), { type: "module", name: "engine" });
    const judge = new Worker(new URL("./judge.worker.ts", import.meta.url), { type: "module", name: "judge" });
    const remote = wrap<EngineApi>(engine);
    const scorer = wrap<JudgeApi>(judge);
    this.begun(judge, "judge", scorer);
    this.begun(engine, "engine", remote);
    const toStore = new MessageChannel();
    const toJudge = new MessageChannel();
    store.postMessage({ type: "connect", port: toStore.port1 }, [toStore.port1]);
    // Messages arrive in order: nobody waits for the judge, and the engine answers once.
    void scorer.load({ models: this.parts.judge });
    judge.postMessage({ type: "connect", port: toJudge.port1 }, [toJudge.port1]);
    void remote.listen(proxy(this.parts.listeners) as unknown as Remote<Listeners>);
    const ports = { model: this.parts.policy, store: toStore.port2, judge: toJudge.port2 };
    await remote.connect(transfer(ports, [ports.store, ports.judge]));
    return remote;
  }

  private begun(thread: Worker, name: string, remote: Parameters<typeof gone>[0]): void {
    this.alive.add(thread);
    const died = (reason: string): void => {
      if (!this.alive.has(thread)) return;
      this.end();
      this.parts.crashed(name, reason);
    };
    thread.addEventListener("error", ({ message }) => died(message || "it could not be loaded"));
    void gone(remote).then(() => died("the browser ended it, perhaps for want of memory"));
  }
}
