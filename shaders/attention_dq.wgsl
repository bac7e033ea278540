// forward was: o[i] = Σ_j P[i,j] v[j],  P[i,j] = exp(q[i]·k[j] · scale − lse[i])
// delta[i] = dO[i]·o[i]        dS[i,j] = P[i,j] (dO[i]·v[j] − delta[i])        dq[i] = scale Σ_j dS[i,j] k[j]
// Shapes as in attention_fwd; dO, dq: (B,T,H,D)  stats: (B,H,T) of (lse, delta).  One thread per (b, h, i).
const D4: u32 = 4u; // head size / 4, set when the shader is loaded
struct P { B: u32, T: u32, H: u32, KV: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> info: array<u32>;
@group(0) @binding(5) var<storage, read> stats: array<vec2f>;
@group(0) @binding(6) var<storage, read> dout: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec4f>;
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
  if (t >= p.B * p.H * p.T) { return; }
  let i = t % p.T;
  let h = (t / p.T) % p.H;
  let b = t / (p.T * p.H);
  let g = h / (p.H / p.KV);
  let at = ((b * p.T + i) * p.H + h) * D4;
  var query: array<vec4f, D4>;
  var grad: array<vec4f, D4>;
  var sum: array<vec4f, D4>;
  for (var d = 0u; d < D4; d++) {
    query[d] = q[at + d] * p.scale;
    grad[d] = dout[at + d];
    sum[d] = vec4f();
  }
  let norm = stats[t].x;
  let mine = stats[t].y;
  let mi = info[b * p.T + i];
  let end = select(i + 1u, p.T, (mi & PREFIX) != 0u);
  for (var j = 0u; j < end; j++) {
    if (sees(i, j, mi, info[b * p.T + j])) {
      let kv = ((b * p.T + j) * p.KV + g) * D4;
      var s4 = vec4f();
      var g4 = vec4f();
      for (var d = 0u; d < D4; d++) { s4 += query[d] * k[kv + d]; g4 += grad[d] * v[kv + d]; }
      let e = exp(clamp(s4.x + s4.y + s4.z + s4.w - norm, -80.0, 0.5));
      let ds = e * (g4.x + g4.y + g4.z + g4.w - mine);
      for (var d = 0u; d < D4; d++) { sum[d] += ds * k[kv + d]; }
    }
  }
  for (var d = 0u; d < D4; d++) { dq[at + d] = sum[d] * p.scale; }
}
