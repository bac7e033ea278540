import { performance } from "node:perf_hooks";
import { columns, defineCommand, UsageError } from "../args.ts";

/** `autodidact fuzz`: every parser of outside bytes on seeded mutations of good input. No GPU is needed. */
export const fuzz = defineCommand({
  name: "fuzz",
  summary: "mutate the input of every parser of outside bytes; each must read it right or refuse it clearly",
  options: {
    runs: { type: "whole", min: 1, default: 10_000, help: "mutations of each parser" },
    parser: { type: "text", value: "NAME", help: "one parser alone (a wrong name lists them)" },
    seed: { type: "whole", min: 0, default: 0, help: "seed of the mutations" },
    from: { type: "whole", min: 0, default: 0, help: "number of the first mutation, to run a failure again" },
  },
  example: "autodidact fuzz --parser zip --seed 0 --from 4711 --runs 1",
  async run({ values, out }) {
    const { fuzz: run } = await import("../fuzz/fuzz.ts");
    const { TARGETS } = await import("../fuzz/targets.ts");
    const targets = TARGETS.filter(({ name }) => values.parser === null || name === values.parser);
    if (targets.length === 0)
      throw new UsageError(
        `there is no parser "${values.parser}"; there are\n${columns(TARGETS.map(({ name, what }) => [name, what] as const))}`,
      );
    let failed = 0;
    for (const target of targets) {
      const report = await run(target, {
        seed: values.seed,
        runs: values.runs,
        first: values.from,
        now: () => performance.now(),
      });
      for (const failure of report.failures)
        out.note(`${failure.parser} --seed ${failure.seed} --from ${failure.run}: ${failure.message}`);
      failed += report.failures.length;
      out.result(
        report,
        `${target.name.padEnd(14)} ${report.read} read, ${report.refused} refused, ${report.failures.length} failed; ${report.seconds.toFixed(1)} s, slowest ${report.slowestMs.toFixed(0)} ms`,
      );
    }
    if (failed > 0) throw new Error(`${failed} mutations were neither read right nor refused clearly`);
  },
});
