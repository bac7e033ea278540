import { loadavg } from "node:os";
import { measurePeak } from "../../ops/peak.ts";
import { columns, defineCommand, UsageError } from "../args.ts";
import { peersText, scalingText } from "../bench-docs.ts";
import { type Measured, WORKLOADS } from "../bench-node.ts";
import { benchPage, pageRows } from "../bench-page.ts";
import { benchPeers, CONTESTANTS, type ContestantName } from "../bench-peers.ts";
import { profileText } from "../bench-profile.ts";
import { comparisons, scalingCurves } from "../bench-scaling.ts";
import { benchTune, tuneRows } from "../bench-tune.ts";
import { openBlock } from "../document.ts";
import { openNodeRuntime } from "../runtime.ts";

/** Load average of the last minute: beyond the number of busy processes of the benchmark itself, others slow it down. */
const load = (): number => loadavg()[0] ?? 0;

/** Names of --contestants. Throws UsageError for an unknown one. */
function contestantNames(text: string): ContestantName[] {
  return text.split(",").map((word) => {
    const name = CONTESTANTS.find((known) => known === word.trim());
    if (!name) throw new UsageError(`--contestants: there is no ${word}; there are ${CONTESTANTS.join(", ")}`);
    return name;
  });
}

/** `autodidact bench`: how fast the engine, a round and the page are on this machine. */
export const bench = defineCommand({
  name: "bench",
  summary: "speed of the engine's workloads with a profile by kernel, of the page, and against other libraries",
  options: {
    only: { type: "text", value: "NAME", help: `one workload: ${Object.keys(WORKLOADS).join(", ")}` },
    model: { type: "text", value: "DIR", help: "model folder", default: "public/models/policy" },
    "judge-model": { type: "text", value: "DIR", help: "folder of the ONNX judge", default: "public/models/judge" },
    profile: { type: "flag", help: "time every kernel" },
    tune: { type: "flag", help: "every matmul kernel by shape instead; keeps the fastest for later commands" },
    "tune-seconds": { type: "whole", min: 1, max: 3600, default: 120, help: "with --tune: time that it may take" },
    page: { type: "flag", help: "the built page in a Chromium on SwiftShader instead: two rounds of training" },
    peers: {
      type: "flag",
      help: "this engine against jax-js, TensorFlow.js and onnxruntime-web in a Chromium instead",
    },
    contestants: { type: "text", value: "A,B", help: `with --peers: some of ${CONTESTANTS.join(", ")}` },
    quick: { type: "flag", help: "with --peers: tiny sizes, to see that everything runs" },
    scaling: { type: "flag", help: "training steps of growing sizes, shared prompts and checkpointing instead" },
    rounds: { type: "whole", min: 1, max: 100, default: 5, help: "timed runs of the works of --peers and --scaling" },
    write: { type: "text", value: "FILE", help: "put the tables of --peers or --scaling into this document" },
    software: { type: "flag", help: "with --peers: SwiftShader even where there is a GPU" },
    "page-folder": { type: "text", value: "DIR", help: "the built page (made if missing)", default: "dist/page" },
  },
  example: "autodidact bench --only dpo --profile",
  async run({ values, out }) {
    const before = load();
    const loads = () => ({ before, after: load() });
    const busy = () => `load average ${before.toFixed(1)} before, ${load().toFixed(1)} after`;
    if (values.page) {
      const report = await benchPage(values["page-folder"], out.note);
      const title = `${report.browser}, ${report.device}; ${busy()}`;
      out.result({ ...report, load: loads() }, `${title}\n${columns(pageRows(report))}`);
      return;
    }
    if (values.tune) {
      const node = await openNodeRuntime();
      const report = await benchTune(node, values["tune-seconds"], out.note);
      node.gpu.destroy();
      const peak = `peak ${report.peak.gflops.toFixed(1)} GFLOP/s, copy ${report.peak.copyGBs.toFixed(1)} GB/s`;
      out.result({ ...report, load: loads() }, `${report.adapter}; ${peak}; ${busy()}\n${columns(tuneRows(report))}`);
      return;
    }
    if (values.peers) {
      const write = values.write === null ? null : await openBlock(values.write, "bench:peers");
      const report = await benchPeers({
        size: values.quick ? "quick" : "full",
        rounds: values.rounds,
        ...(values.contestants === null ? {} : { contestants: contestantNames(values.contestants) }),
        ...(values.only === null ? {} : { only: values.only }),
        patienceSeconds: 120,
        software: values.software,
        note: out.note,
      });
      const text = peersText(report, { load: before, at: Date.now() });
      await write?.(text);
      out.result({ ...report, load: loads() }, text);
      return;
    }
    const block = values.scaling && values.write !== null ? await openBlock(values.write, "bench:scaling") : null;
    const node = await openNodeRuntime();
    if (values.scaling) {
      const curves = await scalingCurves(node, values.rounds, out.note);
      const compared = await comparisons(node, values.rounds, out.note);
      const adapter = node.gpu.summary;
      const text = scalingText(curves, compared, adapter, { load: before, at: Date.now() });
      await block?.(text);
      out.result({ adapter, load: loads(), curves, comparisons: compared }, text);
      node.gpu.destroy();
      return;
    }
    const names = values.only === null ? Object.keys(WORKLOADS) : [values.only];
    const results: Measured[] = [];
    const setup = { model: values.model, judge: values["judge-model"], profile: values.profile, rounds: values.rounds };
    for (const name of names) {
      const workload = WORKLOADS[name];
      if (!workload)
        throw new UsageError(`--only: there is no workload ${name}; there are ${Object.keys(WORKLOADS).join(", ")}`);
      results.push(await workload(node, setup));
    }
    const rows = results.map(({ name, milliseconds, detail }): [string, string] => [
      name,
      `${milliseconds.toFixed(0)} ms  ${detail}`,
    ]);
    const peak = values.profile ? await measurePeak(node.runtime) : null;
    const tables = results.flatMap(({ profile }) => (profile && peak ? [profileText(profile, peak)] : []));
    out.result(
      { adapter: node.gpu.summary, load: loads(), peak, results },
      `${node.gpu.summary.description}; ${busy()}\n${columns(rows)}\n${tables.join("\n")}`,
    );
    node.gpu.destroy();
  },
});
