// y[r,c] = x[r,c] * inv[r],  inv[r] = 1/sqrt(Σ_c x² + eps): rows of length 1; a row of zeros stays zero.
// x, y: (R,C)  inv: (R), kept for l2norm_bwd.  One thread per row, C a multiple of 4.
struct P { R: u32, C4: u32, eps: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> inv: array<f32>;
override WG: u32 = 32;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let r = (w.y * n.x + w.x) * WG + l.x;
  if (r >= p.R) { return; }
  let base = r * p.C4;
  var squares = vec4f();
  for (var c = 0u; c < p.C4; c++) { let v = x[base + c]; squares += v * v; }
  let s = inverseSqrt(squares.x + squares.y + squares.z + squares.w + p.eps);
  inv[r] = s;
  for (var c = 0u; c < p.C4; c++) { y[base + c] = x[base + c] * s; }
}
