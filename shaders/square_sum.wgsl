// part[z] = Σ_(i in chunk z) x[i]²      x: (N)  part: (Z).  One thread per chunk, fixed order.
struct P { N: u32, chunk: u32, Z: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> part: array<f32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let z = (w.y * n.x + w.x) * WG + l.x;
  if (z >= p.Z) { return; }
  var sum = 0.0;
  for (var i = z * p.chunk; i < min((z + 1u) * p.chunk, p.N); i++) { sum += x[i] * x[i]; }
  part[z] = sum;
}
