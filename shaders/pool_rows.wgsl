// y[s,c] = Σ_(r in segment s) x[r,c]: the sum over the rows that belong together (tokens of a phrase, phrases of a caption).
// x: (R,C)  span: (S,2) u32, first and one past the last row of segment s (equal: no row, zeros)  y: (S,C).
// One thread per (s, c), in fixed order.
struct P { S: u32, C: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> span: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.S * p.C) { return; }
  let c = i % p.C;
  let rows = span[i / p.C];
  var sum = 0.0;
  for (var r = rows.x; r < rows.y; r++) { sum += x[r * p.C + c]; }
  y[i] = sum;
}
