import { loadavg } from "node:os";
import { measurePeak } from "../../ops/peak.ts";
import { columns, defineCommand, UsageError } from "../args.ts";
import { type Measured, WORKLOADS } from "../bench-node.ts";
import { benchPage, pageRows } from "../bench-page.ts";
import { benchPeers, CONTESTANTS, type ContestantName } from "../bench-peers.ts";
import { profileText } from "../bench-profile.ts";
import { callRows, checkRows, firstRunRows, markdownTable, speedRows } from "../peer-report.ts";
import { openNodeRuntime } from "../runtime.ts";

/** Load average of the last minute: beyond the number of busy processes of the benchmark itself, others slow it down. */
const load = (): number => loadavg()[0] ?? 0;

/** `autodidact bench`: how fast the engine, a round and the page are on this machine. */
export const bench = defineCommand({
  name: "bench",
  summary: "speed of the engine's workloads on this adapter, with a profile by kernel; or of the page",
  options: {
    only: { type: "text", value: "NAME", help: `one workload: ${Object.keys(WORKLOADS).join(", ")}` },
    model: { type: "text", value: "DIR", help: "model folder", default: "public/models/policy" },
    "judge-model": { type: "text", value: "DIR", help: "folder of the ONNX judge", default: "public/models/judge" },
    profile: { type: "flag", help: "time every kernel" },
    page: { type: "flag", help: "the built page in a Chromium on SwiftShader instead: two rounds of training" },
    peers: {
      type: "flag",
      help: "this engine against jax-js, TensorFlow.js and onnxruntime-web in a Chromium instead",
    },
    contestants: { type: "text", value: "A,B", help: `with --peers: some of ${CONTESTANTS.join(", ")}` },
    quick: { type: "flag", help: "with --peers: tiny sizes, to see that everything runs" },
    rounds: { type: "whole", min: 1, max: 100, default: 5, help: "with --peers: runs after the first one" },
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
    if (values.peers) {
      const report = await benchPeers({
        size: values.quick ? "quick" : "full",
        rounds: values.rounds,
        ...(values.contestants === null ? {} : { contestants: values.contestants.split(",") as ContestantName[] }),
        ...(values.only === null ? {} : { only: values.only }),
        patienceSeconds: 120,
        software: values.software,
        note: out.note,
      });
      const tables = [speedRows, firstRunRows, callRows, checkRows].map((rows) =>
        markdownTable(rows(report.results, report.names)),
      );
      out.result(
        { ...report, load: loads() },
        `${report.browser}, ${report.adapter}; ${busy()}\n\n${tables.join("\n\n")}`,
      );
      return;
    }
    const names = values.only === null ? Object.keys(WORKLOADS) : [values.only];
    const results: Measured[] = [];
    const setup = { model: values.model, judge: values["judge-model"], profile: values.profile };
    const node = await openNodeRuntime();
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
