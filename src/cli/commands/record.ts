import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { gzipSync } from "node:zlib";
import { canonicalJson } from "../../base/canonical.ts";
import { openFolderStore } from "../../store/folder.ts";
import { defineCommand } from "../args.ts";

/** `autodidact record`: the events of a stored run as the recording that the page plays. */
export const record = defineCommand({
  name: "record",
  summary: "write a run's events as the recording that the page plays",
  options: {
    dir: { type: "text", value: "DIR", help: "run directory of autodidact loop", required: true },
    out: { type: "text", value: "FILE.jsonl.gz", help: "the recording", default: "public/recordings/default.jsonl.gz" },
  },
  example: "autodidact record --dir runs/demo",
  async run({ values, out }) {
    const store = await openFolderStore(values.dir);
    const events = await store.events({ since: 0 });
    store.close();
    const bytes = gzipSync(events.map((event) => `${canonicalJson(event)}\n`).join(""), { level: 9 });
    await mkdir(dirname(values.out), { recursive: true });
    await writeFile(values.out, bytes);
    const count = (type: string) => events.filter((event) => event.type === type).length;
    out.result(
      {
        out: values.out,
        events: events.length,
        bytes: bytes.length,
        committed: count("committed"),
        rejected: count("rejected"),
      },
      `${values.out}: ${events.length} events, ${count("committed")} accepted, ${count("rejected")} rejected, ${(bytes.length / 1024).toFixed(0)} kB`,
    );
  },
});
