/** One process (or engine worker) of a run: the real driver, loop and engine, every call of theirs under a tap. */
import type { LoopEvent } from "../../base/events.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { OnnxScorer } from "../../judge/jury.ts";
import type { Ports, StorePort } from "../../loop/ports.ts";
import type { LoadedModel } from "../../model/hf.ts";
import type { Runtime } from "../../model/weights.ts";
import type { RunStore } from "../../store/run.ts";
import { Engine } from "../../train/engine.ts";
import type { Failure, RunStatus } from "../../worker/api.ts";
import { Driver, type OpenEngine } from "../../worker/driver.ts";
import { toFailure } from "../../worker/rpc.ts";
import { decode } from "../../world/vocabulary.ts";
import { type FragileDevice, fragile } from "./device.ts";
import type { Preset } from "./preset.ts";
import type { Scene, Tap } from "./tap.ts";

/** The machine under every process: a device with its compiled pipelines, the model, the judge. */
export interface Machine {
  readonly runtime: Runtime;
  readonly gpu: Pick<Gpu, "summary" | "check">;
  readonly model: LoadedModel;
  readonly judge: OnnxScorer;
}

/** Thrown at every point of a process that has been killed, so that nothing of it reaches the outside any more. */
export class Killed extends Error {
  constructor() {
    super("this process was killed");
    this.name = "Killed";
  }
}

/** How a process came to rest. */
export interface Rest {
  readonly status: RunStatus | "refused" | "killed";
  readonly failures: readonly Failure[];
}

export interface ProcessOptions {
  readonly machine: () => Promise<Machine>;
  readonly preset: Preset;
  readonly tap: Tap;
  readonly now: () => number;
  readonly open: (run: string) => RunStore;
  /** The page's side: every committed event, in order. */
  readonly emit: (event: LoopEvent) => void;
  /** Events that the page has. */
  readonly known: () => number;
}

/** Names of what the device is asked for, by the engine's call in flight. */
const gpuPoint = (call: string): string => `GPU in ${call}`;

export class FaultyProcess {
  /** Devices that it has opened, the newest last. */
  readonly devices: FragileDevice[] = [];
  /** Times that the next attempts to open a device fail. */
  refusals = 0;
  private readonly options: ProcessOptions;
  private readonly driver: Driver;
  private alive = true;
  private call = "opening";
  private committing = "opening";
  private failures: Failure[] = [];
  private settle: (rest: Rest) => void = () => undefined;

  constructor(options: ProcessOptions) {
    this.options = options;
    this.driver = new Driver({
      open: () => this.openEngine(),
      store: (run) => this.tapped("store", options.open(run), (method, args) => this.note(method, args)),
      judge: async () => this.tapped("judge", (await options.machine()).judge),
      lock: async () => () => undefined,
      now: options.now,
      emit: (event) => {
        if (this.alive) options.emit(event);
      },
      progress: () => undefined,
      state: ({ status }) => {
        if (status !== "running" && status !== "loading") this.rest(status);
      },
      failure: (failure) => {
        this.failures.push(failure);
      },
      ports: (ports) => this.portsOf(ports),
    });
  }

  get device(): FragileDevice | undefined {
    return this.devices.at(-1);
  }

  /** A write of the store; its point is the phase whose commit it belongs to. */
  write(scene: Scene): void {
    if (this.alive) this.options.tap.hit(`write in ${this.committing}`, scene);
  }

  /** Starts or resumes the run and waits until it rests: finished, paused with a failure, or the process killed. */
  async go(run: string | null): Promise<Rest> {
    const rest = new Promise<Rest>((resolve) => {
      this.settle = resolve;
    });
    this.failures = [];
    const { contour, seed } = this.options.preset;
    const gpu = { powerPreference: "high-performance", gentle: false } as const;
    const { known } = this.options;
    const begun =
      run === null
        ? this.driver.start({ contour, rounds: contour.rounds, seed, ...gpu })
        : this.driver.resume({ run, since: known(), ...gpu });
    begun.catch((error: unknown) => {
      this.failures.push(toFailure(error));
      this.rest("refused");
    });
    return rest;
  }

  /** From here on nothing of it reaches the outside. */
  kill(): void {
    this.alive = false;
    this.rest("killed");
  }

  /** Ends it as a page does; a killed one leaves its buffers to the system. */
  async end(): Promise<void> {
    if (this.alive) await this.driver.dispose();
    else for (const device of this.devices) device.release();
    for (const device of this.devices) device.forget();
  }

  private rest(status: Rest["status"]): void {
    this.settle({ status, failures: this.failures });
  }

  private hit(point: string): void {
    if (!this.alive) throw new Killed();
    this.options.tap.hit(point);
    if (!this.alive) throw new Killed();
  }

  private async openEngine(): Promise<OpenEngine> {
    this.call = "opening";
    if (this.refusals > 0) {
      this.refusals--;
      throw new Error("injected: there is no adapter at the moment");
    }
    const { runtime, gpu, model } = await this.options.machine();
    const device = fragile(runtime.device, () => this.hit(gpuPoint(this.call)));
    this.devices.push(device);
    const engine = await Engine.create({
      runtime: { ...runtime, device: device.device },
      gpu,
      model,
      decode: (tokens) => decode(tokens),
    });
    return {
      engine: this.tapped("engine", engine, (method) => {
        this.call = method;
      }),
      lost: device.lost,
      setGentle: () => undefined,
      keep: (adapters) => engine.keep(adapters),
      close: () => engine.destroy(),
    };
  }

  private portsOf(ports: Ports): Ports {
    return {
      ...ports,
      source: this.tapped("source", ports.source),
      sealed: this.tapped("sealed", ports.sealed),
      evaluator: this.tapped("evaluator", ports.evaluator),
    };
  }

  private note(method: string, args: readonly unknown[]): void {
    if (method !== "commit") return;
    const { events } = args[0] as Parameters<StorePort["commit"]>[0];
    this.committing = phaseOf(events);
  }

  /** The same port, each call a point before it begins and one after it has ended. */
  private tapped<T extends object>(
    name: string,
    port: T,
    begun: (method: string, args: readonly unknown[]) => void = () => undefined,
  ): T {
    return new Proxy(port, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== "function" || typeof key !== "string") return value;
        return (...args: unknown[]) => {
          const point = `${name}.${key}`;
          this.hit(point);
          begun(key, args);
          const result: unknown = value.apply(target, args);
          if (!(result instanceof Promise)) return result;
          return result.then((settled: unknown) => {
            this.hit(`${point}, done`);
            return settled;
          });
        };
      },
    });
  }
}

/** The phase that ends with these events. */
function phaseOf(events: readonly LoopEvent[]): string {
  const types = new Set(events.map((event) => event.type));
  if (types.has("started")) return "start";
  if (types.has("paired")) return "collect";
  if (types.has("trained")) return "train";
  if (types.has("gated")) return "gate";
  return types.has("evaluated") || types.has("finished") ? "evaluate" : "other";
}
