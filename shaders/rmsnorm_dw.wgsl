// forward was: y[r,c] = x[r,c] * rstd[r] * w[c]
// dw[c] = Σ_r dy[r,c] x[r,c] rstd[r]  (+ dw if ACC)      x, dy: (R,C)  rstd: (R)  dw: (C), C a multiple of 4.
// A workgroup owns WX vec4 of columns; its SLICES threads of one column each take every SLICES-th row, the first one adds
// up, in fixed order. One barrier.
// GATHER: row r of y was x[index[r]] of (N,C), nothing where that is no row.
const GATHER: u32 = 0u;
const WX: u32 = 4u;
const SLICES: u32 = 32u;
struct P { R: u32, C4: u32, N: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> rstd: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dw: array<vec4f>;
#if GATHER: @group(0) @binding(5) var<storage, read> index: array<u32>;
override ACC: u32 = 0;

var<workgroup> part: array<vec4f, WX * SLICES>;

@compute @workgroup_size(WX, SLICES)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let n = w.x * WX + l.x;
  let c = min(n, p.C4 - 1u);
  var sum = vec4f();
  for (var r = l.y; r < p.R; r += SLICES) {
    #if !GATHER: let taken = r;
    #if GATHER: let taken = min(index[r], p.N - 1u); // rstd is 0 where there is no row
    sum += dy[r * p.C4 + c] * x[taken * p.C4 + c] * rstd[r];
  }
  part[l.y * WX + l.x] = sum;
  workgroupBarrier();
  if (l.y > 0u || n >= p.C4) { return; }
  for (var s = 1u; s < SLICES; s++) { sum += part[s * WX + l.x]; }
  if (ACC == 1u) { sum += dw[n]; }
  dw[n] = sum;
}
