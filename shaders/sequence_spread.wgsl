// dlogp[m] = dsum[owner[m]]: every token of an answer gets the gradient of the answer's sum.
// owner: (M) u32, 0xffffffff for a row of no sequence (gradient 0)  dsum: (S)  dlogp: (M).  One thread per row.
struct P { M: u32, S: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> owner: array<u32>;
@group(0) @binding(2) var<storage, read> dsum: array<f32>;
@group(0) @binding(3) var<storage, read_write> dlogp: array<f32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let m = (w.y * n.x + w.x) * WG + l.x;
  if (m >= p.M) { return; }
  let s = owner[m];
  var g = 0.0;
  if (s < p.S) { g = dsum[s]; }
  dlogp[m] = g;
}
