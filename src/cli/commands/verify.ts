import { verifyArchive } from "../../store/verify.ts";
import { defineCommand } from "../args.ts";
import { readInput } from "../files.ts";

/** `autodidact verify`: is the archive exactly the run that its journal tells of? No GPU is needed. */
export const verify = defineCommand({
  name: "verify",
  summary: "check a run archive: the journal's hash chain, and that everything in it matches",
  argument: { value: "RUN.zip", help: "archive that the page or `loop --out` wrote" },
  options: {},
  example: "autodidact verify run.zip",
  async run({ argument, out }) {
    const verdict = verifyArchive(await readInput(argument));
    if (verdict.ok) {
      const { run, lines, pairs, adapters, head, sealed } = verdict;
      const remark = sealed ? "" : "\nThe archive was packed again by another tool; its contents are as exported.";
      out.result(
        verdict,
        `${argument} is whole: run ${run}, ${lines} journal lines, ${pairs} pairs and ${adapters} adapters match.\n` +
          `Last hash of the journal: ${head}${remark}`,
      );
      return;
    }
    out.result(verdict, verdict.problems.map(({ where, message }) => `${where}: ${message}`).join("\n"));
    const count = verdict.problems.length;
    throw new Error(`${argument} is rejected: ${count} ${count === 1 ? "problem" : "problems"}`);
  },
});
