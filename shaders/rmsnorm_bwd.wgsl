// forward was: y[c] = x[c] * s * w[c], and s = rstd depends on every x[c]
// dx[r,c] = s · (dy[r,c] w[c] − x[r,c] s² · mean_c(dy w x))  (+ dx if ACC)
// x, dy, dx: (R,C)  w: (C)  rstd: (R).  One thread per row, or TEAM of them; C a multiple of 4.
// GATHER: row r of x was row inverse[r] of y (N,C), so of dy and rstd, then row next[inverse[r]], and so on until that is no
// row (0xffffffff).
const GATHER: u32 = 0u;
const TEAM: u32 = 0u;
struct P { R: u32, C4: u32, N: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4f>;
#if GATHER: @group(0) @binding(6) var<storage, read> inverse: array<u32>;
#if GATHER: @group(0) @binding(7) var<storage, read> next: array<u32>;
override WG: u32 = 32;
override ACC: u32 = 0;
#include row_team

// Of everything that the row became, from row `first` of y on.
fn gradient(first: u32, c: u32) -> vec4f {
  #if !GATHER: return dy[first * p.C4 + c];
  #if GATHER
    var sum = vec4f();
    for (var m = first; m < p.N; m = next[m]) { sum += dy[m * p.C4 + c]; }
    return sum;
  #end
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * n.x + w.x) * WG + l.x;
  let r = min(t / MEMBERS, p.R - 1u);
  let own = t % MEMBERS;
  let base = r * p.C4;
  #if !GATHER: let at = r;
  #if GATHER: let at = inverse[r];
  var sums = vec4f();
  for (var c = own; c < p.C4; c += MEMBERS) { sums += gradient(at, c) * weight[c] * x[base + c]; }
  let sum = rowSum(l.x, sums);
  if (t / MEMBERS >= p.R) { return; }
  #if GATHER
    if (at >= p.N) {
      if (ACC == 0u) { for (var c = own; c < p.C4; c += MEMBERS) { dx[base + c] = vec4f(); } }
      return;
    }
  #end
  let s = rstd[at];
  let k = s * s * sum / f32(p.C4 * 4u);
  for (var c = own; c < p.C4; c += MEMBERS) {
    let v = s * (gradient(at, c) * weight[c] - x[base + c] * k);
    if (ACC == 1u) { dx[base + c] = dx[base + c] + v; } else { dx[base + c] = v; }
  }
}
