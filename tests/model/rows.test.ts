import { expect, test } from "vitest";
import {
  type PreferenceIds,
  parseCompletion,
  parseIdList,
  parsePreference,
  parseRows,
  parseSequence,
  type Row,
} from "../../src/model/rows.ts";
import { parseTokenizer } from "../../src/model/tokenizer.ts";
import { encode, tokenizerConfigJson, tokenizerJson, VOCABULARY_SIZE } from "../../src/world/vocabulary.ts";
import { goldenText } from "./golden.ts";

const tokenizer = parseTokenizer(tokenizerJson(), tokenizerConfigJson(), VOCABULARY_SIZE);
const options = { tokenizer, vocabulary: VOCABULARY_SIZE };
const row = (json: unknown): Row => parseRows(JSON.stringify(json), "data.jsonl")[0] as Row;
const preference = (
  json: unknown,
  own = options as { tokenizer: typeof tokenizer | null; vocabulary: number },
): PreferenceIds => parsePreference(row(json), own);

test("lines are numbered, empty ones passed over, Windows' line ends accepted", () => {
  const rows = parseRows('{"a":1}\r\n\n{"b":2}\n', "data.jsonl");
  expect(rows.map(({ where }) => where)).toEqual(["data.jsonl:1", "data.jsonl:3"]);
  expect(() => parseRows('{"a":1}\n{"b":', "data.jsonl")).toThrow(/^data\.jsonl:2 is not valid JSON/);
  expect(() => parseRows("[1]", "data.jsonl")).toThrow("data.jsonl:1 must be a JSON object, found [1]");
  expect(() => parseRows("\n", "data.jsonl")).toThrow("data.jsonl has no rows");
});

test("sequences as ids and as text", () => {
  expect(parseSequence(row({ tokens: [5, 6, 7] }), options)).toEqual([5, 6, 7]);
  expect(parseSequence(row({ text: "red circle" }), options)).toEqual(encode("red circle"));
  expect(parseSequence(row({ tokens: [5] }), options)).toEqual([5]);
  expect(() => parseSequence(row({ tokens: [] }), options)).toThrow("data.jsonl:1: want at least 1 token, found none");
  expect(() => parseSequence(row({ tokens: [5, 64] }), options)).toThrow(
    'data.jsonl:1: "tokens" must hold token ids from 0 to 63, found 64 at place 1',
  );
  expect(() => parseSequence(row({ words: [] }), options)).toThrow(/want \{"tokens".*found the fields words/);
  expect(() => parseSequence(row({ text: "red" }), { ...options, tokenizer: null })).toThrow(
    /the model has no tokenizer\.json; give token ids/,
  );
});

test("preferences as ids stand exactly as given, other fields are kept", () => {
  const rows = parseRows(goldenText("llama-tied/preferences.jsonl"), "preferences.jsonl");
  expect(rows.length).toBe(10);
  const parsed = rows.map((line) => parsePreference(line, { tokenizer: null, vocabulary: 97 }));
  parsed.forEach(({ extra, ...ids }, i) => {
    expect({ ...ids, ...extra }).toEqual(rows[i]?.json);
  });
  expect(parsed[3]?.extra).toEqual({ source: "extra fields are kept" });
});

test("preferences as text are tokenized as TRL does it", () => {
  const parsed = preference({ prompt: "describe", chosen: " red circle b 3", rejected: " blue <eos>", round: 4 });
  expect(parsed).toEqual({
    prompt_ids: encode("describe"),
    chosen_ids: encode("red circle b 3 <eos>"),
    rejected_ids: encode("blue <eos>"),
    extra: { round: 4 },
  });
});

test("what a preference lacks is named with its line", () => {
  expect(() => preference({ prompt_ids: [1], chosen_ids: [2] })).toThrow(
    'data.jsonl:1: "rejected_ids" must be a list of token ids, found nothing',
  );
  expect(() => preference({ prompt_ids: [1], chosen_ids: [], rejected_ids: [2] })).toThrow(
    'data.jsonl:1: "chosen_ids" is empty',
  );
  expect(() => preference({ prompt: "describe", chosen: 3, rejected: "" })).toThrow(
    'data.jsonl:1: "chosen" must be a string, found 3',
  );
  expect(() => preference({ chosen: "red", rejected: "blue" })).toThrow(
    /want \{"prompt","chosen","rejected"\} or .*found the fields chosen, rejected/,
  );
  expect(() => preference({ prompt: "a", chosen: "b", rejected: "c" }, { ...options, tokenizer: null })).toThrow(
    /has no tokenizer\.json/,
  );
});

test("a list of ids on the command line", () => {
  expect(parseIdList("1, 2,3", "--tokens", 10)).toEqual([1, 2, 3]);
  expect(() => parseIdList("1,x", "--tokens", 10)).toThrow(
    '--tokens must hold token ids from 0 to 9, found "x" at place 1',
  );
  expect(() => parseIdList("1,10", "--tokens", 10)).toThrow(
    "--tokens must hold token ids from 0 to 9, found 10 at place 1",
  );
});

test("completions as ids and as text, with EOS behind the text", () => {
  expect(parseCompletion(row({ prompt_ids: [5], completion_ids: [6, 7] }), options)).toEqual({
    prompt_ids: [5],
    completion_ids: [6, 7],
  });
  expect(parseCompletion(row({ prompt: "describe", completion: " red circle" }), options)).toEqual({
    prompt_ids: encode("describe"),
    completion_ids: encode("red circle <eos>"),
  });
  expect(() => parseCompletion(row({ prompt_ids: [5], completion_ids: [] }), options)).toThrow(
    'data.jsonl:1: "completion_ids" is empty',
  );
  expect(() => parseCompletion(row({ text: "red" }), options)).toThrow(
    /want \{"prompt","completion"\}.*the fields text/,
  );
});
