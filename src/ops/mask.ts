/**
 * Every token of a row carries one word that says what it is; attention, embedding and decoding read it.
 * Token i sees token j when neither is padding, and j ≤ i or both are prefix (image tokens see each other, text is
 * causal), and j is in segment 0 (the shared prompt) or in i's own segment, and both are of one document. So a prompt and
 * its answers fit in one row and the prompt is computed once; and rows of other prompts fit behind it, without padding.
 * The tokens of a document lie together, and in it those of each answer.
 */
export const PAD = 0x80000000;
/** The id of this token is a row of the patch embedding, not of the vocabulary. */
export const IMAGE = 0x40000000;
/** Prefix tokens see each other in both directions. */
export const PREFIX = 0x20000000;
/** Documents of one sequence do not see each other; 13 bits, see `document`. */
export const DOCUMENTS = 8192;
/** "No row" in an index. */
export const NONE = 0xffffffff;

/** Word of a token in `segment` (0: prompt, 1…65535: an answer). */
export const info = (segment: number, flags = 0): number => (segment | flags) >>> 0;

/** Bits of a token of document `n` (0…8191) of its sequence. */
export const document = (n: number): number => n << 16;
