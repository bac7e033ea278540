/**
 * Turns prompts and answers into the arrays that a plan reads. One row holds a prompt and any number of answers to it:
 *
 *   [image tokens][prompt][answer 1 without its last token][answer 2 without its last token]…
 *    segment 0              segment 1                        segment 2
 *    see each other
 *
 * Every answer's first token is predicted by the last token of the prompt, the others by the token before them. So the
 * prompt is computed once, an answer of one token costs no token at all, and positions are those of the unpacked sequence.
 *
 * A sequence of T tokens holds one such row and padding, or, padding-free, several rows one behind the other, which the
 * mask keeps apart as documents.
 */
import type { Picture } from "../base/records.ts";
import { DOCUMENTS, document, IMAGE, info, NONE, PAD, PREFIX } from "../ops/mask.ts";
import { imageTokens, type ModelConfig } from "./config.ts";

export interface PackedRow {
  readonly picture: Picture | null;
  readonly prompt: readonly number[];
  readonly answers: readonly (readonly number[])[];
}

/** Sizes of a plan: B sequences of T tokens, M predicted tokens, S answers, pictures or none. */
export interface PackShape {
  readonly B: number;
  readonly T: number;
  readonly M: number;
  readonly S: number;
  readonly pictures: boolean;
  /** Padding-free: rows that share the B sequences. Left out: each has a sequence of its own. */
  readonly rows?: number;
}

/** Rows that a plan takes. */
export const rowsOf = ({ B, rows }: PackShape): number => rows ?? B;

/** Rows that go through the model with those of other parts, one part behind the other. */
export interface PackPart {
  readonly rows: readonly PackedRow[];
  readonly shape: PackShape;
}

/** Tokens (R = Σ B·T), predicted tokens (M = Σ M) and patches (P) of all parts. */
interface Places {
  readonly id: Uint32Array;
  readonly info: Uint32Array;
  readonly pos: Uint32Array;
  /** (P, channels · patch²), values 0…1. */
  readonly patches: Float32Array | null;
  /** (M): token that predicts. Its inverse: (R), what each token predicts first, and (M), what its token predicts next. */
  readonly index: Uint32Array;
  readonly inverse: Uint32Array;
  readonly next: Uint32Array;
  readonly target: Uint32Array;
  /** (P): token of each patch. */
  readonly patchRow: Uint32Array | null;
}

/** One part's answers, counted from its own first. */
export interface PackedAnswers {
  /** (M): answer of each predicted token; (S,2): its first and one past its last. */
  readonly owner: Uint32Array;
  readonly span: Uint32Array;
}

export interface Packed extends Places {
  /** Of each part. */
  readonly answers: readonly PackedAnswers[];
}

/** Tokens that a row takes. */
export function rowLength(config: ModelConfig, row: PackedRow): number {
  return (
    (row.picture ? imageTokens(config) : 0) +
    row.prompt.length +
    row.answers.reduce((sum, answer) => sum + Math.max(0, answer.length - 1), 0)
  );
}

const up = (n: number, step: number) => Math.max(step, Math.ceil(n / step) * step);

/** Up to a quarter of the power of two below n, at least 64: building a plan costs more than computing a few rows too many. */
const coarse = (n: number) => up(n, Math.max(64, 2 ** (Math.floor(Math.log2(Math.max(1, n))) - 2)));

export interface ShapeOptions {
  /** Rows that the plan takes at least. */
  readonly B?: number;
  /** Several rows share a sequence, so that little is padded; shapes then differ more, and plans serve fewer batches. */
  readonly paddingFree?: boolean;
}

/** The smallest plan, rounded so that few plans serve many batches, that takes these rows. */
export function shapeFor(config: ModelConfig, rows: readonly PackedRow[], minimum: ShapeOptions = {}): PackShape {
  const answers = rows.flatMap((row) => row.answers);
  const lengths = rows.map((row) => rowLength(config, row));
  const size = minimum.paddingFree
    ? { ...cheapest(config, lengths), rows: Math.max(rows.length, minimum.B ?? 1) }
    : { B: Math.max(rows.length, minimum.B ?? 1), T: up(Math.max(...lengths), 8) };
  return {
    ...size,
    M: coarse(answers.reduce((sum, answer) => sum + answer.length, 0)),
    S: Math.max(answers.length, (minimum.B ?? 1) * Math.max(...rows.map((row) => row.answers.length))),
    pictures: rows.some((row) => row.picture !== null),
  };
}

/** Which sequence a row lies in, from which of its tokens on, and as its how manieth document. */
interface RowPlace {
  readonly sequence: number;
  readonly at: number;
  readonly document: number;
}

/** First fit, longest first, in sequences of T tokens: a place for each row, and the number of sequences. */
function placeRows(lengths: readonly number[], T: number): { places: readonly RowPlace[]; B: number } {
  const sequences: { tokens: number; documents: number }[] = [];
  const places: RowPlace[] = [];
  const longestFirst = [...lengths.keys()].sort((a, b) => (lengths[b] as number) - (lengths[a] as number) || a - b);
  for (const row of longestFirst) {
    const length = lengths[row] as number;
    let found = sequences.find(({ tokens, documents }) => tokens + length <= T && documents < DOCUMENTS);
    if (!found) {
      found = { tokens: 0, documents: 0 };
      sequences.push(found);
    }
    places[row] = { sequence: sequences.indexOf(found), at: found.tokens, document: found.documents };
    found.tokens += length;
    found.documents++;
  }
  return { places, B: sequences.length };
}

/** The length of sequences that costs least: longer ones pad less, and attention walks further. */
function cheapest(config: ModelConfig, lengths: readonly number[]): { B: number; T: number } {
  const { hidden_size: C, intermediate_size: F, num_attention_heads: H, num_key_value_heads: KV, head_dim: D } = config;
  const longest = Math.max(...lengths);
  const dense = 2 * C * (H + KV) * D + 3 * C * F; // multiply-adds of a token in one layer, attention aside
  let best = { B: lengths.length, T: up(longest, 8), cost: Number.POSITIVE_INFINITY };
  for (let T = up(longest, 8); T <= up(4 * longest, 8); T += up(Math.ceil(longest / 8), 8)) {
    const { B } = placeRows(lengths, T);
    const cost = B * T * (dense + H * D * T);
    if (cost < best.cost) best = { B, T, cost };
  }
  return { B: best.B, T: best.T };
}

/** Patches of one picture, (patches, channels·patch²) in the order (channel, row, column), written from `start` of `out` on. */
function writePatches(config: ModelConfig, picture: Picture, out: Float32Array, start: number): void {
  const vision = config.vision;
  if (!vision) throw new Error("this model takes no pictures");
  if (picture.size !== vision.image_size)
    throw new Error(`the picture is ${picture.size} pixels wide, the model takes ${vision.image_size}`);
  const { patch_size: size, num_channels: channels } = vision;
  const side = picture.size / size;
  let at = start;
  for (let py = 0; py < side; py++)
    for (let px = 0; px < side; px++)
      for (let c = 0; c < channels; c++)
        for (let y = 0; y < size; y++)
          for (let x = 0; x < size; x++) {
            const pixel = ((py * size + y) * picture.size + px * size + x) * channels + c;
            out[at++] = (picture.rgb[pixel] as number) / 255;
          }
}

function placesOf(
  config: ModelConfig,
  rows: readonly PackedRow[],
  { B, T, rows: shared }: PackShape,
): readonly RowPlace[] {
  if (shared === undefined) return rows.map((_, sequence) => ({ sequence, at: 0, document: 0 }));
  const lengths = rows.map((row) => rowLength(config, row));
  const { places, B: needed } = placeRows(lengths, T);
  if (needed > B) throw new Error(`the rows need ${needed} sequences of ${T} tokens, the plan has ${B}`);
  return places;
}

/** Throws if a row does not fit its part's shape or a token lies outside the vocabulary. */
export function pack(config: ModelConfig, parts: readonly PackPart[]): Packed {
  const sum = (count: (shape: PackShape) => number) => parts.reduce((total, { shape }) => total + count(shape), 0);
  const [R, M] = [sum(({ B, T }) => B * T), sum(({ M }) => M)];
  const patches = sum((shape) => patchesOf(config, shape));
  const all: Places = {
    id: new Uint32Array(R),
    info: new Uint32Array(R).fill(PAD),
    pos: new Uint32Array(R),
    patches: patches > 0 ? new Float32Array(patches * patchWidth(config)) : null,
    index: new Uint32Array(M).fill(NONE),
    inverse: new Uint32Array(R).fill(NONE),
    next: new Uint32Array(M).fill(NONE),
    target: new Uint32Array(M),
    patchRow: patches > 0 ? new Uint32Array(patches).fill(NONE) : null,
  };
  const begin = { token: 0, m: 0, patch: 0 };
  const answers = parts.map((part) => {
    const own = packPart(config, part, all, begin);
    begin.token += part.shape.B * part.shape.T;
    begin.m += part.shape.M;
    begin.patch += patchesOf(config, part.shape);
    return own;
  });
  return { ...all, answers };
}

const patchesOf = (config: ModelConfig, shape: PackShape): number =>
  shape.pictures ? rowsOf(shape) * imageTokens(config) : 0;

/** Numbers of one patch. */
const patchWidth = ({ vision }: ModelConfig): number => (vision ? vision.num_channels * vision.patch_size ** 2 : 0);

/** Fills in one part, from its first token, predicted token and patch on. */
function packPart(
  config: ModelConfig,
  { rows, shape }: PackPart,
  all: Places,
  begin: { readonly token: number; readonly m: number; readonly patch: number },
): PackedAnswers {
  const { T, M, S } = shape;
  const count = imageTokens(config);
  const most = rowsOf(shape);
  if (rows.length > most) throw new Error(`${rows.length} rows for a plan of ${most}`);
  const places = placesOf(config, rows, shape);
  const owner = new Uint32Array(M).fill(NONE);
  const span = new Uint32Array(S * 2);
  let m = begin.m;
  let s = 0;
  for (const [b, row] of rows.entries()) {
    if (row.prompt.length === 0) throw new Error("a prompt must have at least one token");
    if (rowLength(config, row) > T) throw new Error(`a row of ${rowLength(config, row)} tokens for a plan of ${T}`);
    const place = places[b] as RowPlace;
    let t = begin.token + place.sequence * T + place.at;
    const put = (token: number, word: number, position: number) => {
      if (position >= config.max_position_embeddings)
        throw new Error(
          `a sequence of more than ${config.max_position_embeddings} tokens, which is all that the model takes: shorten it`,
        );
      all.id[t] = token;
      all.info[t] = (word | document(place.document)) >>> 0;
      all.pos[t] = position;
      t++;
    };
    const known = (token: number): number => {
      if (!(token >= 0 && token < config.vocab_size))
        throw new Error(`token ${token} is outside the vocabulary of ${config.vocab_size}`);
      return token;
    };
    let position = 0;
    if (row.picture) {
      if (!shape.pictures || !all.patches || !all.patchRow) throw new Error("a picture for a plan without pictures");
      const patch = begin.patch + b * count;
      writePatches(config, row.picture, all.patches, patch * patchWidth(config));
      for (let i = 0; i < count; i++) {
        all.patchRow[patch + i] = t;
        put(patch + i, info(0, IMAGE | PREFIX), position++);
      }
    }
    for (const token of row.prompt) put(known(token), info(0), position++);
    const last = t - 1;
    let first = NONE; // the newest of the tokens that the prompt predicts
    for (const [a, answer] of row.answers.entries()) {
      span[2 * s] = m - begin.m;
      for (const [i, token] of answer.entries()) {
        if (i > 0) put(answer[i - 1] as number, info(a + 1), position + i - 1);
        const from = i === 0 ? last : t - 1;
        all.index[m] = from;
        if (i > 0 || first === NONE) all.inverse[from] = m;
        else all.next[first] = m;
        if (i === 0) first = m;
        all.target[m] = known(token);
        owner[m - begin.m] = s;
        m++;
      }
      span[2 * s + 1] = m - begin.m;
      s++;
    }
  }
  const predicted = m - begin.m;
  if (predicted > M || s > S)
    throw new Error(`${predicted} predicted tokens of ${s} answers for a plan of ${M} and ${S}`);
  for (; s < S; s++) span.fill(predicted, 2 * s, 2 * s + 2);
  return { owner, span };
}

/** Tokens in the order of their ids, for the gradient of the embedding: see `sortById`. */
export const sortTokens = (config: ModelConfig, { id, info }: Pick<Packed, "id" | "info">) =>
  sortById(id, config.vocab_size, (place) => ((info[place] as number) & (PAD | IMAGE)) === 0);

/**
 * Places of tokens sorted by id: those of token v stand in `order` from start[v] up to start[v + 1], rising. `order` is
 * as long as `id`, `start` one longer than the vocabulary. Places where `isToken` is false are left out. Throws if a token lies outside the vocabulary.
 */
export function sortById(
  id: Uint32Array,
  vocabulary: number,
  isToken: (place: number) => boolean,
): { readonly order: Uint32Array; readonly start: Uint32Array } {
  const places = Array.from(id.keys()).filter(isToken);
  const start = new Uint32Array(vocabulary + 1);
  for (const place of places) {
    const token = id[place] as number;
    if (token >= vocabulary) throw new Error(`token ${token} is outside the vocabulary of ${vocabulary}`);
    start[token + 1]!++;
  }
  for (let token = 0; token < vocabulary; token++) start[token + 1]! += start[token]!;
  const order = new Uint32Array(id.length);
  const next = start.slice();
  for (const place of places) order[next[id[place]!]!++] = place;
  return { order, start };
}
