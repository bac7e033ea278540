/** Memory of this process's children, from Linux's /proc. */
import { readdir, readFile } from "node:fs/promises";

const read = (path: string): Promise<string> => readFile(path, "utf8").catch(() => ""); // gone meanwhile, or not ours

/** Process ids below `root` in the tree of processes, without itself. */
async function descendants(root: number): Promise<readonly number[]> {
  const children = new Map<number, number[]>();
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    // "pid (name) state parent …"; a name may hold spaces and brackets.
    const parent = Number((await read(`/proc/${name}/stat`)).split(") ").at(-1)?.split(" ")[1]);
    if (Number.isInteger(parent)) children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const below = (pid: number): number[] => (children.get(pid) ?? []).flatMap((child) => [child, ...below(child)]);
  return below(root);
}

/**
 * Bytes of memory of all processes below `root`: the sum of their PSS, which shares a page of memory that several
 * use among them. null where there is no /proc (not Linux).
 */
export async function treeMemory(root: number): Promise<number | null> {
  if (process.platform !== "linux") return null;
  let kilobytes = 0;
  for (const pid of await descendants(root)) {
    const rollup = await read(`/proc/${pid}/smaps_rollup`);
    kilobytes += Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0);
  }
  return kilobytes * 1024;
}
