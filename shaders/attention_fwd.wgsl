// o[i] = Σ_j softmax_j(q[i]·k[j] · scale) v[j] over the j that i may see; lse[i] = log Σ_j exp(q[i]·k[j] · scale)
// q, o: (B,T,H,D)  k, v: (B,T,KV,D)  info: (B,T) u32, see src/ops/mask.ts  lse: (B,H,T), kept for the backward pass.
// Flash style: running maximum and sum, no (T,T) matrix. One thread per (b, h, i), workgroups over (i, h, b): all threads
// of a workgroup read the same key at the same time, so that it is loaded once for all.
const D4: u32 = 4u; // head size / 4, set when the shader is loaded
struct P { B: u32, T: u32, H: u32, KV: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> info: array<u32>;
@group(0) @binding(5) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;
override WG: u32 = 32;
const PAD = 0x80000000u;
const PREFIX = 0x20000000u;
const DOCUMENT = 0x1fff0000u;

fn sees(i: u32, j: u32, mi: u32, mj: u32) -> bool {
  let seg = mj & 0xffffu;
  return (mj & PAD) == 0u && ((mi ^ mj) & DOCUMENT) == 0u && (j <= i || (mi & mj & PREFIX) != 0u) && (seg == 0u || seg == (mi & 0xffffu));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = w.x * WG + l.x;
  if (i >= p.T) { return; }
  let h = w.y;
  let first = w.z * p.T;
  let g = h / (p.H / p.KV);
  let at = ((first + i) * p.H + h) * D4;
  var query: array<vec4f, D4>;
  var sum: array<vec4f, D4>;
  for (var d = 0u; d < D4; d++) { query[d] = q[at + d] * p.scale; sum[d] = vec4f(); }
  let mi = info[first + i];
  let end = select(i + 1u, p.T, (mi & PREFIX) != 0u);
  var top = -1e30;
  var total = 0.0;
  for (var j = 0u; j < end; j++) {
    if (sees(i, j, mi, info[first + j])) {
      let kv = ((first + j) * p.KV + g) * D4;
      var s4 = vec4f();
      for (var d = 0u; d < D4; d++) { s4 += query[d] * k[kv + d]; }
      let s = s4.x + s4.y + s4.z + s4.w;
      let next = max(top, s);
      let shrink = exp(max(top - next, -80.0));
      let e = exp(max(s - next, -80.0));
      total = total * shrink + e;
      for (var d = 0u; d < D4; d++) { sum[d] = sum[d] * shrink + e * v[kv + d]; }
      top = next;
    }
  }
  let inverse = select(0.0, 1.0 / total, total > 0.0);
  for (var d = 0u; d < D4; d++) { o[at + d] = sum[d] * inverse; }
  lse[(w.z * p.H + h) * p.T + i] = select(0.0, top + log(total), total > 0.0);
}
