/**
 * A visitor's verifier in the page. Three walls: a frame with an opaque origin (sandbox.html, no access to this page or
 * its storage), whose policy allows no network at all, and in it a worker, which is ended when its time is over.
 */
import { checkCode, defaultLimitMs, failure, type RunVerifier, readReply, verifierProgram } from "../judge/verifier.ts";

/** The worker's program: one request over its port, one reply. The verifier's own messages reach nobody. */
const program = `${verifierProgram}
onmessage = ({ data: { code, items }, ports: [port] }) => {
  const reply = port.postMessage.bind(port);
  onmessage = null;
  reply(runVerifier(code, items));
};
`;

/** Time for the frame and its worker to start, milliseconds. */
const START_MS = 10_000;

/** Runs a verifier on items in the page; see RunVerifier. Needs a document: the main thread. */
export const runVerifierInPage: RunVerifier = async (code, items, { limitMs = defaultLimitMs } = {}) => {
  checkCode(code);
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.setAttribute("credentialless", ""); // a host that sends no isolation headers sends none for the frame either
  frame.hidden = true;
  frame.src = new URL("sandbox.html", document.baseURI).href;
  const { port1: port, port2 } = new MessageChannel();
  try {
    const started = await within(START_MS, startFrame(frame));
    if (started === null)
      return failure("unavailable", null, "the sandbox did not load. Check the connection and reload.");
    const reply = new Promise<unknown>((resolve) => {
      port.onmessage = ({ data }) => resolve(data);
    });
    started.postMessage({ program, code, items: JSON.stringify(items) }, "*", [port2]);
    // The frame says "started" first, so that its own start does not count; then the verifier's reply.
    if ((await within(START_MS, reply)) !== "started")
      return failure("unavailable", null, "the sandbox did not start. Reload the page.");
    const scores = new Promise<unknown>((resolve) => {
      port.onmessage = ({ data }) => resolve(data);
    });
    const result = await within(limitMs, scores);
    if (result === null) return failure("time-limit", null, `${limitMs} ms`);
    if (result === "crashed") return failure("crashed", null, "its worker ended");
    return readReply(result, items.length);
  } finally {
    port.close();
    frame.remove(); // the frame's worker ends with it
  }
};

/** The frame's window once it has loaded. */
function startFrame(frame: HTMLIFrameElement): Promise<Window | null> {
  return new Promise((resolve) => {
    frame.addEventListener("load", () => resolve(frame.contentWindow), { once: true });
    frame.addEventListener("error", () => resolve(null), { once: true });
    document.body.append(frame);
  });
}

/** The value of a promise, or null when it takes longer. */
async function within<T>(ms: number, work: Promise<T>): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), ms);
  });
  const value = await Promise.race([work, late]);
  clearTimeout(timer);
  return value;
}
