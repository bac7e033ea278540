/**
 * A verifier in Node: in a thread of its own with bounded memory, in a context that holds the language and nothing of
 * Node's (no require, process, fetch, timers), until it answers or its time is over. Node's contexts are no wall against
 * code that is made to break out (nodejs.org/api/vm.html): give it files that you have read. The page has such walls.
 */
import { Worker } from "node:worker_threads";
import { InputError } from "../base/input.ts";
import { checkCode, defaultLimitMs, failure, type RunVerifier, readReply, verifierProgram } from "../judge/verifier.ts";

const THREAD = `
const { parentPort, workerData: { program, code, items } } = require("node:worker_threads");
const { createContext, Script } = require("node:vm");
const context = createContext(Object.create(null), { codeGeneration: { strings: true, wasm: false } });
new Script(program).runInContext(context);
const call = new Script("runVerifier(" + JSON.stringify(code) + "," + JSON.stringify(items) + ")");
parentPort.postMessage("started");
parentPort.postMessage(String(call.runInContext(context)));
`;

/** Memory of the thread's heap, MiB. */
const HEAP = 256;

/** Runs a verifier on items in Node; see RunVerifier. Code with an import in it is refused with an InputError. */
export const runVerifierInNode: RunVerifier = async (code, items, { limitMs = defaultLimitMs } = {}) => {
  checkCode(code);
  if (/\bimport\b/.test(code))
    throw new InputError('the verifier must not contain the word "import": it has no modules');
  const worker = new Worker(THREAD, {
    eval: true,
    env: {},
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: HEAP, maxYoungGenerationSizeMb: 32, stackSizeMb: 4 },
    workerData: { program: verifierProgram, code, items: JSON.stringify(items) },
  });
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    return await new Promise((resolve) => {
      worker.on("message", (message) => {
        if (message !== "started") resolve(readReply(message, items.length));
        else timer = setTimeout(() => resolve(failure("time-limit", null, `${limitMs} ms`)), limitMs);
      });
      worker.on("error", (error) => resolve(failure("crashed", null, error.message)));
      worker.on("exit", () => resolve(failure("crashed", null, "its thread ended")));
    });
  } finally {
    clearTimeout(timer);
    await worker.terminate();
  }
};
