/** Before the tests on WebGPU in Node: chooses Dawn's driver for the processes that run them. */
import { chooseAdapter } from "../../src/cli/adapter.mjs";

export function setup() {
  const choice = chooseAdapter();
  console.log(choice.detail);
  if (choice.kind === "none") throw new Error(choice.detail); // no GPU is a failure, not a skip
  Object.assign(process.env, choice.env);
}
