import type { Files } from "../model/hf.ts";

/** A model folder behind a URL. A file that the server does not have reads as null; any other failure throws. */
export function urlFiles(base: string): Files {
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
  return {
    name: base,
    read: async (name) => {
      if (!known.includes(name)) return null;
      const response = await fetch(new URL(name, base));
      // A static host may answer an unknown path with its page.
      if (response.status === 404 || response.headers.get("content-type")?.startsWith("text/html")) return null;
      if (!response.ok) throw new TypeError(`${name}: the server answered ${response.status}`);
      return new Uint8Array(await response.arrayBuffer());
    },
    list: async () => known,
  };
}
