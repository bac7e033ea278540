// part[z,c] = Σ_(r in chunk z) x[r,c]: the gradient of a bias; reduce_sum adds the chunks.
// x: (R,C)  part: (Z,C).  One thread per (z, c).
struct P { R: u32, C: u32, chunk: u32, Z: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> part: array<f32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.Z * p.C) { return; }
  let z = i / p.C;
  let c = i % p.C;
  var sum = 0.0;
  for (var r = z * p.chunk; r < min((z + 1u) * p.chunk, p.R); r++) { sum += x[r * p.C + c]; }
  part[i] = sum;
}
