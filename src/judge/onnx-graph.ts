/** Writes ONNX files: nodes, constants, inputs, outputs. Field numbers are those of onnx.proto. */
import { Message } from "./protobuf.ts";

/** Opset of the default domain, and the file format that goes with it. */
const OPSET = 17;
const IR_VERSION = 8;

export const FLOAT = 1;
export const INT32 = 6;
export const INT64 = 7;

/** Whole numbers ≥ 0, lists of them, or one float. */
type Attribute = number | readonly number[] | { readonly float: number };

/** Operators of ONNX Runtime's own, beside ONNX's. */
export const MICROSOFT = "com.microsoft";

/** Collects nodes and constants; its methods return the names of their results. */
export class GraphWriter {
  readonly nodes: Message[] = [];
  readonly initializers: Message[] = [];
  /** Domains of the nodes beside ONNX's own. */
  readonly domains = new Set<string>();
  private readonly known = new Set<string>();

  node(
    op: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    output = `${op}_${this.nodes.length}`,
  ): string {
    this.nodeOf("", op, inputs, [output], attributes);
    return output;
  }

  /** A node of another domain or with several outputs; "" stands for one that is left out. */
  nodeOf(
    domain: string,
    op: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
  ): void {
    const node = new Message();
    for (const input of inputs) node.string(1, input);
    for (const output of outputs) node.string(2, output);
    node.string(3, `${op}_${this.nodes.length}`).string(4, op);
    for (const [name, value] of Object.entries(attributes)) node.message(5, attribute(name, value));
    if (domain !== "") {
      node.string(7, domain);
      this.domains.add(domain);
    }
    this.nodes.push(node);
  }

  floats(name: string, shape: readonly number[], data: Float32Array): string {
    return this.constant(name, shape, FLOAT, new Uint8Array(Float32Array.from(data).buffer));
  }

  ints(name: string, values: readonly number[]): string {
    return this.constant(name, [values.length], INT64, new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer));
  }

  private constant(name: string, shape: readonly number[], type: number, raw: Uint8Array): string {
    if (this.known.has(name)) return name;
    this.known.add(name);
    const tensor = new Message();
    for (const n of shape) tensor.int(1, n);
    this.initializers.push(tensor.int(2, type).string(8, name).data(9, raw));
    return name;
  }
}

// AttributeProto types: FLOAT 1, INT 2, INTS 7.
function attribute(name: string, value: Attribute): Message {
  const message = new Message().string(1, name);
  if (typeof value === "number") return message.int(3, value).int(20, 2);
  if ("float" in value) return message.float(2, value.float).int(20, 1);
  for (const n of value) message.int(8, n);
  return message.int(20, 7);
}

/** Name, type and shape of an input or output; a text stands for a free dimension. */
export function valueInfo(name: string, type: number, shape: readonly (number | string)[]): Message {
  const dims = new Message();
  for (const n of shape) dims.message(1, typeof n === "number" ? new Message().int(1, n) : new Message().string(2, n));
  const tensor = new Message().int(1, type).message(2, dims);
  return new Message().string(1, name).message(2, new Message().message(1, tensor));
}

/** The bytes of a .onnx file. */
export function modelFile(
  name: string,
  graph: GraphWriter,
  inputs: readonly Message[],
  outputs: readonly Message[],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const body = new Message();
  for (const node of graph.nodes) body.message(1, node);
  body.string(2, name);
  for (const tensor of graph.initializers) body.message(5, tensor);
  for (const input of inputs) body.message(11, input);
  for (const output of outputs) body.message(12, output);
  const file = new Message().int(1, IR_VERSION).string(2, "autodidact").message(7, body);
  file.message(8, new Message().string(1, "").int(2, OPSET));
  for (const domain of graph.domains) file.message(8, new Message().string(1, domain).int(2, 1));
  for (const [key, value] of Object.entries(metadata)) file.message(14, new Message().string(1, key).string(2, value));
  return file.encode();
}
