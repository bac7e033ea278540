// forward was: o[i] = Σ_j P[i,j] v[j],  P[i,j] = exp(q[i]·k[j] · scale − lse[i])
// dv[j] = Σ_i P[i,j] dO[i]        dk[j] = scale Σ_i P[i,j] (dO[i]·v[j] − delta[i]) q[i]
// The sums run over the query heads of j's group as well (grouped-query), so no atomics.
// Shapes as in attention_fwd; stats: (B,H,T) of (lse, delta) from attention_delta.  One thread per (b, kv head, j).
const D4: u32 = 4u; // head size / 4, set when the shader is loaded
struct P { B: u32, T: u32, H: u32, KV: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> info: array<u32>;
@group(0) @binding(5) var<storage, read> stats: array<vec2f>;
@group(0) @binding(6) var<storage, read> dout: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dk: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> dv: array<vec4f>;
override WG: u32 = 32;
const PAD = 0x80000000u;
const PREFIX = 0x20000000u;
const DOCUMENT = 0x1fff0000u;

fn sees(i: u32, j: u32, mi: u32, mj: u32) -> bool {
  let seg = mj & 0xffffu;
  return (mj & PAD) == 0u && ((mi ^ mj) & DOCUMENT) == 0u && (j <= i || (mi & mj & PREFIX) != 0u) && (seg == 0u || seg == (mi & 0xffffu));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * n.x + w.x) * WG + l.x;
  if (t >= p.B * p.KV * p.T) { return; }
  let j = t % p.T;
  let g = (t / p.T) % p.KV;
  let b = t / (p.T * p.KV);
  let kv = ((b * p.T + j) * p.KV + g) * D4;
  var key: array<vec4f, D4>;
  var value: array<vec4f, D4>;
  var sumK: array<vec4f, D4>;
  var sumV: array<vec4f, D4>;
  for (var d = 0u; d < D4; d++) { key[d] = k[kv + d] * p.scale; value[d] = v[kv + d]; sumK[d] = vec4f(); sumV[d] = vec4f(); }
  let mj = info[b * p.T + j];
  let group = p.H / p.KV;
  let begin = select(j, 0u, (mj & PREFIX) != 0u);
  for (var h = g * group; h < (g + 1u) * group; h++) {
    for (var i = begin; i < p.T; i++) {
      let mi = info[b * p.T + i];
      if (sees(i, j, mi, mj)) {
        let at = ((b * p.T + i) * p.H + h) * D4;
        var s4 = vec4f();
        var g4 = vec4f();
        for (var d = 0u; d < D4; d++) { s4 += key[d] * q[at + d]; g4 += value[d] * dout[at + d]; }
        let row = stats[(b * p.H + h) * p.T + i];
        let e = exp(clamp(s4.x + s4.y + s4.z + s4.w - row.x, -80.0, 0.5));
        let ds = e * (g4.x + g4.y + g4.z + g4.w - row.y);
        for (var d = 0u; d < D4; d++) { sumK[d] += ds * q[at + d]; sumV[d] += e * dout[at + d]; }
      }
    }
  }
  for (var d = 0u; d < D4; d++) { dk[kv + d] = sumK[d] * p.scale; dv[kv + d] = sumV[d]; }
}
