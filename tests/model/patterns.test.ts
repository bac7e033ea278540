/** Regular expressions of a tokenizer that somebody brings: the known ones pass, those that backtrack without end are refused or ended. */
import { expect, test } from "vitest";
import { bounded } from "../../src/cli/bounded.ts";
import { TimeLimit } from "../../src/model/patterns.ts";
import { parseTokenizer, type Tokenizer } from "../../src/model/tokenizer.ts";

/** A tokenizer of single characters that splits by `pattern`. */
function splitBy(pattern: string, where: "pre_tokenizer" | "normalizer" | "decoder" = "pre_tokenizer"): Tokenizer {
  const stages = {
    pre_tokenizer: { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
    normalizer: { type: "Replace", pattern: { Regex: pattern }, content: "b" },
    decoder: { type: "Sequence", decoders: [{ type: "Replace", pattern: { Regex: pattern }, content: "b" }] },
  };
  const vocab = { "?": 0, a: 1, b: 2, " ": 3, "!": 4 };
  const file = { [where]: stages[where], model: { type: "BPE", vocab, merges: [], unk_token: "?" } };
  return parseTokenizer(JSON.stringify(file), null, 5, bounded);
}

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";

test.each([
  ["GPT-2, SmolLM2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"],
  [
    "Llama 3",
    `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  ],
  [
    "Qwen 2 and 3",
    `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  ],
  [
    "GPT-4o",
    `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+${contractions}?|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*${contractions}?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  ],
  [
    "DeepSeek",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
  ],
  ["BLOOM", " ?[^(\\s|[.,!?…。，、।۔،])]+"],
  ["CLIP", "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"],
])("the pattern of %s passes, and splits a long text", (_name, pattern) => {
  const tokenizer = splitBy(pattern);
  expect(tokenizer.encode("ab ".repeat(2000)).length).toBeGreaterThan(3999);
});

test.each([
  "(a+)+$",
  "(a|a)*b",
  "(a|aa)+$",
  "(\\w+\\s?)*$",
  "(x+x+)+y",
  "(?:a|b|ab)*c",
  "(?=(a+)+b)",
  "(\\p{L}+\\p{L}*)+!x",
  "([a-zA-Z]+)*x!",
  "(?i:(a+)+)$",
])("%s is refused with its name", (pattern) => {
  expect(() => splitBy(pattern)).toThrow(/tokenizer\.json: the pattern ".*it backtracks without end/s);
});

test.each(["normalizer", "decoder"] as const)("so is one in a %s", (where) => {
  expect(() => splitBy("(a|a)*b", where)).toThrow("it backtracks without end");
});

test("one that only a long text makes slow is ended at its time limit, and says so", () => {
  const tokenizer = splitBy("a*a*a*x");
  const began = performance.now();
  expect(() => tokenizer.encode("a".repeat(3000))).toThrow(
    "tokenizer.json cannot encode a text of 3000 characters in 13 s: one of its patterns backtracks",
  );
  expect(performance.now() - began).toBeLessThan(60_000);
}, 120_000);

test("the time limit ends a loop, lets values and errors through, and may be nested", () => {
  expect(() =>
    bounded(() => {
      for (;;);
    }, 50),
  ).toThrow(TimeLimit);
  expect(bounded(() => bounded(() => 7, 1000) + 1, 1000)).toBe(8);
  expect(() =>
    bounded(() => {
      throw new RangeError("no");
    }, 1000),
  ).toThrow(RangeError);
});
