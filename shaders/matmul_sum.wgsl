// y[r,n] = Σ_z part[z,r,n], in the order of z, then as in matmul_output: what a product split over K ends with.
// part: (Z,R,N)  y: (R,N)  N a multiple of 4. One thread per vec4; the scale is in the parts already.
struct P { Z: u32, R: u32, N4: u32, plusRows: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> part: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
#if PLUS: @group(0) @binding(3) var<storage, read> plus: array<vec4f>;
const PLUS: u32 = 0u;
const ACC: u32 = 0u;
#include matmul_output

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * g.x + w.x) * 64u + l.x;
  if (i >= p.R * p.N4) { return; }
  var sum = vec4f();
  for (var z = 0u; z < p.Z; z++) { sum += part[z * p.R * p.N4 + i]; }
  put(0u, i / p.N4, i % p.N4, sum);
}
