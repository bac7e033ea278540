// Operands of a product (with matmul_sizes). a (HALF_A) or b (F16) may be stored in f16, two elements in a word: any
// device can unpack them, so shader-f16 is not needed.
#if !HALF_A
  @group(0) @binding(1) var<storage, read> a: array<vec4f>;
  fn loadA(i: u32) -> vec4f { return a[i]; }
#end
#if HALF_A
  @group(0) @binding(1) var<storage, read> a: array<vec2u>;
  fn loadA(i: u32) -> vec4f { let w = a[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }
#end
#if !F16
  @group(0) @binding(2) var<storage, read> b: array<vec4f>;
  fn loadB(i: u32) -> vec4f { return b[i]; }
#end
#if F16
  @group(0) @binding(2) var<storage, read> b: array<vec2u>;
  fn loadB(i: u32) -> vec4f { let w = b[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }
#end
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
#if PLUS: @group(0) @binding(4) var<storage, read> plus: array<vec4f>;
