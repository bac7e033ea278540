// forward was: y[r,c] = x[r,c] * rstd[r] * w[c]
// part[z,c] = Σ_(r in chunk z) dy[r,c] x[r,c] rstd[r]; reduce_sum adds the chunks.
// x, dy: (R,C)  rstd: (R)  part: (Z,C).  One thread per (z, c).
struct P { R: u32, C: u32, chunk: u32, Z: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rstd: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> part: array<f32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.Z * p.C) { return; }
  let z = i / p.C;
  let c = i % p.C;
  var sum = 0.0;
  for (var r = z * p.chunk; r < min((z + 1u) * p.chunk, p.R); r++) { sum += dy[r * p.C + c] * x[r * p.C + c] * rstd[r]; }
  part[i] = sum;
}
