// ks[n, step, :] = k[n, :] and vs[n, step, :] = v[n, :]      k, v: (N,C)  ks, vs: (N,TS,C), C = KV·D.
// One thread per element; nothing is written past the cache.
struct P { N: u32, C: u32, TS: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> step: array<u32>;
@group(0) @binding(4) var<storage, read_write> ks: array<f32>;
@group(0) @binding(5) var<storage, read_write> vs: array<f32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) nw: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * nw.x + w.x) * WG + l.x;
  if (i >= p.N * p.C || step[0] >= p.TS) { return; }
  let at = ((i / p.C) * p.TS + step[0]) * p.C + i % p.C;
  ks[at] = k[i];
  vs[at] = v[i];
}
