/**
 * The words of the bundled model, in an order that never changes: a word's place is its token id.
 * Numbers are spelled digit by digit ("4 7 + 2 5 ="), rows share the digits ("red circle b 3").
 */
// biome-ignore format: one group a line shows the ids
const WORDS = [
  "<pad>", "<bos>", "<eos>", "<unk>", // 0–3
  "red", "green", "blue", "yellow", // 4–7
  "circle", "square", "triangle", // 8–10
  "a", "b", "c", "d", // 11–14
  "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", // 15–24
  "describe", "count", "exists", "left-of", "above", // 25–29
  "+", "-", "=", // 30–32
  "yes", "no", // 33, 34
] as const;

/** Vocabulary size of the model: the words, padded with reserved tokens. */
export const VOCABULARY_SIZE = 64;

/** Every token, id → word. */
export const VOCABULARY: readonly string[] = Array.from(
  { length: VOCABULARY_SIZE },
  (_, id) => WORDS[id] ?? `<reserved-${id}>`,
);

export type Word = (typeof WORDS)[number];

const IDS: ReadonlyMap<string, number> = new Map(VOCABULARY.map((word, id) => [word, id]));

/** Token id of a known word. */
export const id = (word: Word): number => IDS.get(word) as number;

export const PAD = id("<pad>");
export const BOS = id("<bos>");
export const EOS = id("<eos>");
export const UNK = id("<unk>");

export const COLOURS = ["red", "green", "blue", "yellow"] as const;
export const SHAPES = ["circle", "square", "triangle"] as const;
export const COLUMNS = ["a", "b", "c", "d"] as const;
export const ROWS = ["1", "2", "3", "4"] as const;

/** Ids of digit d, colour i, … are `FIRST_… + i`. */
export const FIRST_COLOUR = id("red");
export const FIRST_SHAPE = id("circle");
export const FIRST_COLUMN = id("a");
export const FIRST_DIGIT = id("0");

const isSpecial = (word: string): boolean => word.startsWith("<");

/** Token ids of words separated by white space; a word that is not in the vocabulary becomes `<unk>`. */
export function encode(text: string): number[] {
  return text
    .split(/\s+/)
    .filter((word) => word !== "")
    .map((word) => IDS.get(word) ?? UNK);
}

/** Words of the ids, separated by spaces. Special tokens (`<eos>` and the like) are left out unless asked for. */
export function decode(ids: readonly number[], options: { special?: boolean } = {}): string {
  const words = ids.map((token) => VOCABULARY[token] ?? "<unk>");
  return (options.special ? words : words.filter((word) => !isSpecial(word))).join(" ");
}

/** Digit tokens of a whole number ≥ 0, most significant first. */
export function encodeNumber(value: number): number[] {
  if (!(Number.isInteger(value) && value >= 0))
    throw new RangeError(`[vocabulary] want a whole number ≥ 0, got ${value}`);
  return [...String(value)].map((digit) => FIRST_DIGIT + Number(digit));
}

/** The vocabulary as a Hugging Face tokenizer.json (WordLevel model, white space as separator, nothing added). */
export function tokenizerJson(): string {
  const special = VOCABULARY.flatMap((content, token) =>
    isSpecial(content)
      ? [{ id: token, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }]
      : [],
  );
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special,
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: null,
    decoder: null,
    model: {
      type: "WordLevel",
      vocab: Object.fromEntries(VOCABULARY.map((word, token) => [word, token])),
      unk_token: "<unk>",
    },
  };
  return `${JSON.stringify(tokenizer, null, 2)}\n`;
}

/** The tokenizer_config.json that stands beside it. */
export function tokenizerConfigJson(): string {
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: "<bos>",
    eos_token: "<eos>",
    pad_token: "<pad>",
    unk_token: "<unk>",
    add_bos_token: false,
    clean_up_tokenization_spaces: false,
    model_max_length: 64,
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}
