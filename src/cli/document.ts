/** Documents with generated tables: what stands between a block's two markers is replaced, the prose around stays. */
import { writeFile } from "node:fs/promises";
import { readInput } from "./files.ts";

/** `text` with the block `name` replaced. Throws if a marker is missing or stands twice. */
export function replaceBlock(text: string, name: string, content: string): string {
  const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`];
  const parts = text.split(begin);
  const rest = parts[1]?.split(end);
  if (parts.length !== 2 || rest?.length !== 2)
    throw new Error(
      `the document has no place for the table: ${begin} and below it ${end}; it needs one line of each, where the table goes`,
    );
  return `${parts[0]}${begin}\n\n${content.trim()}\n\n${end}${rest[1]}`;
}

/**
 * Resolves with what writes the block `name` of the document `file`. The document is read now, too: one that is not there or has
 * no such block is refused before anything is measured.
 */
export async function openBlock(file: string, name: string): Promise<(content: string) => Promise<void>> {
  const replaced = async (content: string): Promise<string> =>
    replaceBlock(new TextDecoder().decode(await readInput(file)), name, content);
  await replaced("");
  return async (content) => writeFile(file, await replaced(content));
}
