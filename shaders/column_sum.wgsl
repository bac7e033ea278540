// y[c] = Σ_r x[r,c]  (+ y if ACC): the gradient of a bias.      x: (R,C)  y: (C)
// A workgroup owns WX columns; its SLICES threads of one column each take every SLICES-th row, the first one adds up, in
// fixed order. One barrier.
const WX: u32 = 16u;
const SLICES: u32 = 16u;
struct P { R: u32, C: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
override ACC: u32 = 0;

var<workgroup> part: array<f32, WX * SLICES>;

@compute @workgroup_size(WX, SLICES)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let c = w.x * WX + l.x;
  let column = min(c, p.C - 1u);
  var sum = 0.0;
  for (var r = l.y; r < p.R; r += SLICES) { sum += x[r * p.C + column]; }
  part[l.y * WX + l.x] = sum;
  workgroupBarrier();
  if (l.y > 0u || c >= p.C) { return; }
  for (var s = 1u; s < SLICES; s++) { sum += part[s * WX + l.x]; }
  if (ACC == 1u) { sum += y[c]; }
  y[c] = sum;
}
