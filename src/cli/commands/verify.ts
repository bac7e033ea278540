import { judgesOf } from "../../base/contour.ts";
import type { ReplayReport } from "../../store/replay.ts";
import { wholeRun } from "../../store/run.ts";
import { readArchive, verifyArchive } from "../../store/verify.ts";
import type { ByteSource } from "../../store/zip.ts";
import { composeLoop } from "../../worker/compose.ts";
import { defineCommand } from "../args.ts";
import { openBytes } from "../files.ts";
import { openJudge } from "../judge.ts";
import { openPolicy } from "../policy.ts";
import { deviceBefore, replayRound } from "../replay.ts";

/** `autodidact verify`: is the archive exactly the run that its journal tells of? With --replay: does a round come out the same again? */
export const verify = defineCommand({
  name: "verify",
  summary: "check a run archive: the journal's hash chain, and that everything in it matches",
  argument: { value: "RUN.zip", help: "archive that the page or `loop --out` wrote" },
  options: {
    replay: { type: "whole", value: "ROUND", help: "also repeat this round and compare its pairs and update", min: 1 },
    model: { type: "text", value: "DIR", help: "model folder for --replay", default: "public/models/policy" },
    "judge-model": {
      type: "text",
      value: "DIR",
      help: "folder of the ONNX judge for --replay",
      default: "public/models/judge",
    },
  },
  example: "autodidact verify run.zip --replay 3",
  async run({ argument, values, out }) {
    const archive = await openBytes(argument);
    try {
      await check(archive);
    } finally {
      await archive.close();
    }

    async function check(archive: ByteSource): Promise<void> {
      const verdict = await verifyArchive(archive);
      if (!verdict.ok) {
        out.result(verdict, verdict.problems.map(({ where, message }) => `${where}: ${message}`).join("\n"));
        const count = verdict.problems.length;
        throw new Error(`${argument} is rejected: ${count} ${count === 1 ? "problem" : "problems"}`);
      }
      const { run, lines, pairs, adapters, head, sealed, says } = verdict;
      const remark = sealed ? "" : "\nThe archive was packed again by another tool; its contents are as exported.";
      out.result(
        verdict,
        `${argument} is whole: run ${run}, ${lines} journal lines, ${pairs} pairs and ${adapters} adapters match.\n` +
          `It contains ${says}\nLast hash of the journal: ${head}${remark}`,
      );
      if (values.replay === null) return;
      const { report, device } = await repeat(archive, values.replay, values.model, values["judge-model"]);
      out.result({ replay: report, device }, `${words(report)}\nRepeated on ${device.description || device.vendor}.`);
      if (report.pairs.kind === "different" || report.update.kind === "different")
        throw new Error(
          `round ${report.round} did not come out the same. Another GPU, driver or kernel variant rounds differently: compare the device above with the one in the archive's manifest`,
        );
    }
  },
});

async function repeat(file: ByteSource, round: number, model: string, judgeModel: string) {
  const archive = await readArchive(file);
  if (!archive.ok) throw new Error("the archive changed while it was read");
  const contents = await wholeRun(archive.contents);
  const { contour, seed } = contents.state;
  const policy = await openPolicy(model, null, { pinned: deviceBefore(contents, round) });
  try {
    const onnx = [...judgesOf(contour)].some((judge) => judge.startsWith("onnx")) ? await openJudge(judgeModel) : null;
    const report = await replayRound(contents, round, (store) =>
      composeLoop(
        {
          engine: policy.engine,
          store,
          ...(onnx ? { onnx } : {}),
          now: () => Date.now(),
          emit: () => {},
          progress: () => {},
        },
        { contour, seed },
      ),
    );
    return { report, device: policy.engine.device };
  } finally {
    await policy.close();
  }
}

function words({ round, pairs, update }: ReplayReport): string {
  const first =
    pairs.kind === "same"
      ? `Round ${round} again: the ${pairs.count} pairs are the same.`
      : `Round ${round} again: the pairs differ (${pairs.detail}).`;
  switch (update.kind) {
    case "same":
      return `${first} The update is the same bit for bit: adapter ${update.adapter}, optimizer state too.`;
    case "different":
      return `${first} The update differs: ${update.detail}.`;
    case "none":
      return `${first} There is no update to compare: ${update.detail}.`;
    case "deleted":
      return `${first} The update cannot be repeated: ${update.detail}.`;
  }
}
