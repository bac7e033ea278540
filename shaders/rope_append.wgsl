// Inference: q is rotated in place, k is rotated on its way into a cache, v is copied there. Rotation as in rope.wgsl.
// q: (R,H,D)  k, v: (R,KV,D)  pos: (R) u32  table: (maxPos, 2, D/2)  slots: (R,4) u32, see attention_decode.wgsl
// kc, vc: the caches of attention_decode.wgsl. OWN 0: R = G·TP rows of prompts, row r goes to place r. OWN 1: row r goes to
// place pos[r] − slots[r].w of sample slots[r].z.
// One thread per (r, h < max(H, KV)) and V of i < D/2; H = 0: there is no q. Nothing is written past the cache.
alias V = f32; // or vec4f: HALF counts elements of V. Set when the shader is loaded.
struct P { R: u32, G: u32, TP: u32, TS: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> q: array<V>;
@group(0) @binding(2) var<storage, read> k: array<V>;
@group(0) @binding(3) var<storage, read> v: array<V>;
@group(0) @binding(4) var<storage, read> pos: array<u32>;
@group(0) @binding(5) var<storage, read> table: array<V>;
@group(0) @binding(6) var<storage, read> slots: array<vec4u>;
@group(0) @binding(7) var<storage, read_write> kc: array<V>;
@group(0) @binding(8) var<storage, read_write> vc: array<V>;
override WG: u32 = 256;
override OWN: u32 = 0;
override H: u32 = 1; // constants, see rope.wgsl
override KV: u32 = 1;
override HALF: u32 = 1;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * n.x + w.x) * WG + l.x;
  let heads = max(H, KV);
  if (t >= p.R * heads * HALF) { return; }
  let i = t % HALF;
  let h = (t / HALF) % heads;
  let r = t / (HALF * heads);
  let turn = pos[r] * HALF * 2u + i;
  let c = table[turn];
  let s = table[turn + HALF];
  if (h < H) {
    let at = (r * H + h) * HALF * 2u + i;
    let lo = q[at];
    let hi = q[at + HALF];
    q[at] = lo * c - hi * s;
    q[at + HALF] = hi * c + lo * s;
  }
  if (h >= KV) { return; }
  var place = r;
  if (OWN == 1u) {
    let own = pos[r] - slots[r].w;
    if (own >= p.TS) { return; }
    place = p.G * p.TP + slots[r].z * p.TS + own;
  }
  let here = (r * KV + h) * HALF * 2u + i;
  let there = (place * KV + h) * HALF * 2u + i;
  let lo = k[here];
  let hi = k[here + HALF];
  kc[there] = lo * c - hi * s;
  kc[there + HALF] = hi * c + lo * s;
  vc[there] = v[here];
  vc[there + HALF] = v[here + HALF];
}
