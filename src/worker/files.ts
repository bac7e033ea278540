import type { Files } from "../model/hf.ts";

/**
 * A model folder behind a URL. A file that the server does not have reads as null; any other failure throws.
 * `ahead`: files that are fetched at once, so that reading one after the other takes one round trip.
 */
export function urlFiles(base: string, ahead: readonly string[] = []): Files {
  const known = [
    "README.md",
    "config.json",
    "generation_config.json",
    "image_encoder.onnx",
    "text_encoder.onnx",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
  ];
  const get = async (name: string): Promise<Uint8Array | null> => {
    const response = await fetch(new URL(name, base));
    // A static host may answer an unknown path with its page.
    if (response.status === 404 || response.headers.get("content-type")?.startsWith("text/html")) return null;
    if (!response.ok) throw new TypeError(`${name}: the server answered ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const coming = new Map(ahead.map((name) => [name, get(name)]));
  for (const file of coming.values()) file.catch(() => undefined); // told to whoever reads it
  return {
    name: base,
    read: async (name) => (known.includes(name) ? (coming.get(name) ?? get(name)) : null),
    list: async () => known,
  };
}
