/** The little of Protocol Buffers' wire format that writing an ONNX file takes. Fields are appended in call order. */
export class Message {
  private readonly parts: Uint8Array[] = [];

  /** A whole number ≥ 0 (int32, int64, enum). */
  int(field: number, value: number): this {
    this.tag(field, 0);
    this.varint(value);
    return this;
  }

  float(field: number, value: number): this {
    this.tag(field, 5);
    this.parts.push(new Uint8Array(new Float32Array([value]).buffer));
    return this;
  }

  string(field: number, text: string): this {
    return this.data(field, new TextEncoder().encode(text));
  }

  /** `value` is copied by `encode`, not before. */
  data(field: number, value: Uint8Array): this {
    this.tag(field, 2);
    this.varint(value.length);
    this.parts.push(value);
    return this;
  }

  message(field: number, value: Message): this {
    return this.data(field, value.encode());
  }

  encode(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of this.parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }

  private tag(field: number, wireType: number): void {
    this.varint(field * 8 + wireType);
  }

  private varint(value: number): void {
    if (!(Number.isSafeInteger(value) && value >= 0))
      throw new RangeError(`[protobuf] want a whole number ≥ 0, got ${value}`);
    const bytes: number[] = [];
    let rest = value;
    for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
    this.parts.push(Uint8Array.of(...bytes, rest));
  }
}
