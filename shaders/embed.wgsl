// x[r,c] = meta[r] is an image token ? patch[id[r], c] : table[id[r], c]
// id, meta: (R) u32  table: (V,C), or with F16 two f16 in a word and V = vec4f  patch: (B·16,C)  x: (R,C).  One thread per V. Image bit: src/ops/mask.ts.
const F16: u32 = 0u;
alias V = f32; // or vec4f: C counts elements of V. Set when the shader is loaded.
struct P { R: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> id: array<u32>;
@group(0) @binding(2) var<storage, read> info: array<u32>;
#if !F16
  @group(0) @binding(3) var<storage, read> table: array<V>;
  fn entry(i: u32) -> V { return table[i]; }
#end
#if F16
  @group(0) @binding(3) var<storage, read> table: array<vec2u>;
  fn entry(i: u32) -> V { let w = table[i]; return V(unpack2x16float(w.x), unpack2x16float(w.y)); }
#end
@group(0) @binding(4) var<storage, read> patches: array<V>;
@group(0) @binding(5) var<storage, read_write> x: array<V>;
override WG: u32 = 256;
override C: u32 = 1; // a constant, see split_columns.wgsl

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.R * C) { return; }
  let r = i / C;
  let at = id[r] * C + i % C;
  if ((info[r] & 0x40000000u) != 0u) { x[i] = patches[at]; } else { x[i] = entry(at); }
}
