/**
 * A look at an ONNX file before the runtime, which is C++ inside WebAssembly, gets it: Protocol Buffers' framing, only
 * the fields and operators of a plain encoder, tensors as long as their shapes say, each name made before it is used.
 * Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
 */
import { InputError } from "../base/input.ts";

const MAX_BYTES = 2 ** 26;
/** Fields of one message, such as the nodes of the graph. */
const MAX_PARTS = 8192;
const MAX_NAME = 256;
const MAX_SIZE = 2 ** 24;
const MAX_RANK = 8;

const FLOAT = 1;
const INT64 = 7;
/** Bytes an element. */
const ELEMENT: Readonly<Record<number, number>> = { [FLOAT]: 4, [INT64]: 8 };

/** The operators of the judge's encoders (export-onnx.ts). None of them has a graph inside or an output of unbounded size. */
const OPERATORS = [
  "Add",
  "Cast",
  "Div",
  "Gather",
  "Greater",
  "MatMul",
  "Mul",
  "ReduceSum",
  "Reshape",
  "Sigmoid",
  "Sqrt",
  "Transpose",
];

/** Throws an InputError that says what is wrong with the file and what to do. Time and memory are linear in its size. */
export function checkOnnx(file: Uint8Array, source: string): void {
  const fail: Fail = (problem) => {
    throw new InputError(
      `${source} is not a model that can be run: ${problem}. Fetch it again, or make it anew with "autodidact pretrain-judge".`,
    );
  };
  if (file.length > MAX_BYTES) fail(`it has ${file.length} bytes, at most ${MAX_BYTES} are accepted`);
  const model = only(file, [1, 2, 3, 4, 5, 6, 7, 8, 14], "the model", fail);
  const graphs = model.filter(({ field }) => field === 7);
  if (graphs.length !== 1) fail(`it has ${graphs.length} graphs, wanted one`);
  for (const { field, data } of model) if (field === 8) checkOpset(data, fail);
  checkGraph((graphs[0] as Field).data, fail);
}

type Fail = (problem: string) => never;

/** One field of a message: `value` of a number, `data` of anything with a length (else empty). */
interface Field {
  readonly field: number;
  readonly value: number;
  readonly data: Uint8Array;
}

const NOTHING = new Uint8Array(0);

/** The fields of a message, none but the `allowed` ones. */
function only(message: Uint8Array, allowed: readonly number[], what: string, fail: Fail): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1, i = 0; i < 10; i++, scale *= 128) {
      const byte = message[at++];
      if (byte === undefined) return fail(`${what} is cut off`);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    return fail(`${what} holds a number of more than 64 bits`);
  };
  const take = (length: number): Uint8Array => {
    if (length > message.length - at) return fail(`${what} is cut off`);
    at += length;
    return message.subarray(at - length, at);
  };
  while (at < message.length) {
    const tag = varint();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (!allowed.includes(field)) fail(`${what} has a field ${field}, which is not supported`);
    if (wire === 0) fields.push({ field, value: varint(), data: NOTHING });
    else if (wire === 2) fields.push({ field, value: 0, data: take(varint()) });
    else if (wire === 5) fields.push({ field, value: 0, data: take(4) });
    else fail(`${what} has a field of wire type ${wire}`);
    if (fields.length > MAX_PARTS) fail(`${what} has more than ${MAX_PARTS} parts`);
  }
  return fields;
}

function checkOpset(message: Uint8Array, fail: Fail): void {
  for (const { field, value, data } of only(message, [1, 2], "the operator set", fail)) {
    if (field === 1 && data.length > 0) fail("it uses operators of another domain");
    if (field === 2 && (value < 13 || value > 24)) fail(`it uses operator set ${value}, wanted 13 to 24`);
  }
}

function checkGraph(graph: Uint8Array, fail: Fail): void {
  const fields = only(graph, [1, 2, 5, 10, 11, 12, 13], "the graph", fail);
  const known = new Set<string>();
  const define = (name: string): void => {
    if (name === "" || known.has(name)) fail(`the name ${JSON.stringify(name)} is made twice, or empty`);
    known.add(name);
  };
  for (const { field, data } of fields) {
    if (field === 5) define(checkTensor(data, fail));
    if (field === 11) define(checkValue(data, fail));
  }
  for (const { field, data } of fields) if (field === 1) checkNode(data, known, define, fail);
  for (const { field, data } of fields) {
    if (field !== 12) continue;
    const name = checkValue(data, fail);
    if (!known.has(name)) fail(`no node makes the output ${JSON.stringify(name)}`);
  }
}

/** A node's inputs must be made before it; its outputs are known from then on. */
function checkNode(node: Uint8Array, known: ReadonlySet<string>, define: (name: string) => void, fail: Fail): void {
  const fields = only(node, [1, 2, 3, 4, 5, 6], "a node", fail);
  const operator = fields.filter(({ field }) => field === 4).map(({ data }) => text(data, fail));
  if (operator.length !== 1 || !OPERATORS.includes(operator[0] as string))
    fail(`the operator ${JSON.stringify(operator[0] ?? "")} is not supported; supported are ${OPERATORS.join(", ")}`);
  for (const { field, data } of fields) {
    if (field === 1 && !known.has(text(data, fail)))
      fail(`a ${operator[0]} uses ${JSON.stringify(text(data, fail))}, which nothing made before`);
    if (field === 5) checkAttribute(data, fail);
  }
  for (const { field, data } of fields) if (field === 2) define(text(data, fail));
}

/** Whole numbers and lists of them: no tensors, no graphs. */
function checkAttribute(attribute: Uint8Array, fail: Fail): void {
  const fields = only(attribute, [1, 3, 8, 20], "an attribute", fail);
  if (fields.length > MAX_RANK + 2) fail(`an attribute has ${fields.length} parts`);
  for (const { field, value } of fields)
    if (field !== 1 && value > MAX_SIZE) fail(`an attribute holds ${value}, at most ${MAX_SIZE} is accepted`);
}

/** A constant: raw data of exactly its shape's size, finite numbers. Returns its name. */
function checkTensor(tensor: Uint8Array, fail: Fail): string {
  const fields = only(tensor, [1, 2, 8, 9], "a constant", fail);
  const all = (number: number): Field[] => fields.filter(({ field }) => field === number);
  const [type, name, raw] = [2, 8, 9].map((number) => {
    const found = all(number);
    return found.length === 1
      ? (found[0] as Field)
      : fail(`a constant has ${found.length} fields ${number}, wanted one`);
  }) as [Field, Field, Field];
  const called = text(name.data, fail);
  const shape = all(1).map(({ value }) => value);
  if (shape.length > MAX_RANK || shape.some((size) => size > MAX_SIZE))
    fail(`the constant ${JSON.stringify(called)} has the shape (${shape.slice(0, MAX_RANK).join(", ")})`);
  const element = ELEMENT[type.value];
  if (element === undefined) return fail(`the constant ${JSON.stringify(called)} is neither f32 nor i64`);
  const wanted = shape.reduce((a, b) => a * b, element);
  if (wanted !== raw.data.length)
    fail(`the constant ${JSON.stringify(called)} has ${raw.data.length} bytes, its shape takes ${wanted}`);
  if (type.value === FLOAT && !allFinite(raw.data))
    fail(`the constant ${JSON.stringify(called)} holds NaN or infinity`);
  return called;
}

function allFinite(raw: Uint8Array): boolean {
  // An exponent of eight set bits stands for infinity and NaN; they lie in the two upper bytes, little-endian.
  for (let i = 2; i < raw.length; i += 4)
    if (((raw[i] as number) & 0x80) === 0x80 && ((raw[i + 1] as number) & 0x7f) === 0x7f) return false;
  return true;
}

/** An input or output: a tensor of f32 or i64 whose sizes are free or bounded. Returns its name. */
function checkValue(value: Uint8Array, fail: Fail): string {
  const fields = only(value, [1, 2], "an input or output", fail);
  for (const { field, data } of fields) {
    if (field !== 2) continue;
    for (const { data: tensor } of only(data, [1], "a type", fail))
      for (const part of only(tensor, [1, 2], "a tensor's type", fail)) {
        if (part.field === 1 && ELEMENT[part.value] === undefined) fail("an input or output is neither f32 nor i64");
        if (part.field === 2) checkShape(part.data, fail);
      }
  }
  const name = fields.find(({ field }) => field === 1);
  return name === undefined ? fail("an input or output has no name") : text(name.data, fail);
}

function checkShape(shape: Uint8Array, fail: Fail): void {
  const sizes = only(shape, [1], "a shape", fail);
  if (sizes.length > MAX_RANK) fail(`a shape has ${sizes.length} sizes`);
  for (const { data } of sizes)
    for (const { field, value } of only(data, [1, 2], "a size", fail))
      if (field === 1 && (value < 1 || value > MAX_SIZE)) fail(`an input or output has a side of ${value}`);
}

function text(data: Uint8Array, fail: Fail): string {
  if (data.length > MAX_NAME) fail(`a name has ${data.length} bytes`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(data);
  } catch {
    return fail("a name is not UTF-8 text");
  }
}
