// forward was: y[c] = x[c] * s, and s = inv depends on every x[c]
// dx[r,c] = s · (dy[r,c] − y[r,c] · Σ_c(dy y))  (+ dx if ACC)
// y, dy, dx: (R,C)  inv: (R).  One thread per row, C a multiple of 4.
struct P { R: u32, C4: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> y: array<vec4f>;
@group(0) @binding(2) var<storage, read> inv: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;
override WG: u32 = 32;
override ACC: u32 = 0;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let r = (w.y * n.x + w.x) * WG + l.x;
  if (r >= p.R) { return; }
  let base = r * p.C4;
  var sums = vec4f();
  for (var c = 0u; c < p.C4; c++) { sums += dy[base + c] * y[base + c]; }
  let k = sums.x + sums.y + sums.z + sums.w;
  for (var c = 0u; c < p.C4; c++) {
    let v = inv[r] * (dy[base + c] - y[base + c] * k);
    if (ACC == 1u) { dx[base + c] = dx[base + c] + v; } else { dx[base + c] = v; }
  }
}
