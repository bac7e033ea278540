// y[r,c] = x[r,c] * rstd[r] * w[c],  rstd[r] = 1/sqrt(mean_c(x²) + eps)
// x: (R,C)  w: (C)  y: (R,C)  rstd: (R), kept for rmsnorm_bwd.  One thread per row, or TEAM of them; C a multiple of 4.
// GATHER: row r is x[index[r]] of (N,C), zeros where that is no row (0xffffffff).  index: (R) u32.
const GATHER: u32 = 0u;
const TEAM: u32 = 0u;
struct P { R: u32, C4: u32, eps: f32, N: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;
#if GATHER: @group(0) @binding(5) var<storage, read> index: array<u32>;
override WG: u32 = 32;
#include row_team

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * n.x + w.x) * WG + l.x;
  let r = min(t / MEMBERS, p.R - 1u);
  let own = t % MEMBERS;
  let base = r * p.C4;
  #if !GATHER: let taken = base;
  #if GATHER
    let empty = index[r] >= p.N;
    let taken = select(index[r], 0u, empty) * p.C4;
  #end
  var squares = vec4f();
  for (var c = own; c < p.C4; c += MEMBERS) { let v = x[taken + c]; squares += v * v; }
  let sum = rowSum(l.x, squares);
  if (t / MEMBERS >= p.R) { return; }
  #if GATHER
    if (empty) {
      if (own == 0u) { rstd[r] = 0.0; }
      for (var c = own; c < p.C4; c += MEMBERS) { y[base + c] = vec4f(); }
      return;
    }
  #end
  let s = inverseSqrt(sum / f32(p.C4 * 4u) + p.eps);
  if (own == 0u) { rstd[r] = s; }
  for (var c = own; c < p.C4; c += MEMBERS) { y[base + c] = x[taken + c] * s * weight[c]; }
}
