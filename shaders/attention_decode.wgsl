// One new token per row n against its prompt's shared cache and its own: o = softmax(q·[Kp, Ks] · scale) [Vp, Vs]
// q, o: (N,H,D)  kp, vp: (G,TP,KV,D), row n uses prompt n / K  info: (G,TP) u32 (padding bit)
// ks, vs: (N,TS,KV,D), positions 0…step[0] are valid.  One thread per (n, h).
const D4: u32 = 4u; // head size / 4, set when the shader is loaded
struct P { N: u32, K: u32, H: u32, KV: u32, TP: u32, TS: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> kp: array<vec4f>;
@group(0) @binding(3) var<storage, read> vp: array<vec4f>;
@group(0) @binding(4) var<storage, read> info: array<u32>;
@group(0) @binding(5) var<storage, read> ks: array<vec4f>;
@group(0) @binding(6) var<storage, read> vs: array<vec4f>;
@group(0) @binding(7) var<storage, read> step: array<u32>;
@group(0) @binding(8) var<storage, read_write> o: array<vec4f>;
override WG: u32 = 32;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) nw: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * nw.x + w.x) * WG + l.x;
  if (t >= p.N * p.H) { return; }
  let n = t % p.N;
  let h = t / p.N;
  let g = h / (p.H / p.KV);
  let at = (n * p.H + h) * D4;
  var query: array<vec4f, D4>;
  var sum: array<vec4f, D4>;
  for (var d = 0u; d < D4; d++) { query[d] = q[at + d] * p.scale; sum[d] = vec4f(); }
  var top = -1e30;
  var total = 0.0;
  let prompt = n / p.K;
  for (var j = 0u; j < p.TP; j++) {
    if ((info[prompt * p.TP + j] & 0x80000000u) != 0u) { continue; }
    let kv = ((prompt * p.TP + j) * p.KV + g) * D4;
    var s4 = vec4f();
    for (var d = 0u; d < D4; d++) { s4 += query[d] * kp[kv + d]; }
    let s = s4.x + s4.y + s4.z + s4.w;
    let next = max(top, s);
    let shrink = exp(max(top - next, -80.0));
    let e = exp(max(s - next, -80.0));
    total = total * shrink + e;
    for (var d = 0u; d < D4; d++) { sum[d] = sum[d] * shrink + e * vp[kv + d]; }
    top = next;
  }
  let end = min(step[0] + 1u, p.TS);
  for (var j = 0u; j < end; j++) {
    let kv = ((n * p.TS + j) * p.KV + g) * D4;
    var s4 = vec4f();
    for (var d = 0u; d < D4; d++) { s4 += query[d] * ks[kv + d]; }
    let s = s4.x + s4.y + s4.z + s4.w;
    let next = max(top, s);
    let shrink = exp(max(top - next, -80.0));
    let e = exp(max(s - next, -80.0));
    total = total * shrink + e;
    for (var d = 0u; d < D4; d++) { sum[d] = sum[d] * shrink + e * vs[kv + d]; }
    top = next;
  }
  for (var d = 0u; d < D4; d++) { o[at + d] = sum[d] / total; }
}
