// sum[s] = Σ_(m in sequence s) logp[m]: log-probability of a whole answer.
// logp: (M)  span: (S,2) u32, first and one past the last row of sequence s  sum: (S).  One thread per sequence.
struct P { S: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> logp: array<f32>;
@group(0) @binding(2) var<storage, read> span: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> sum: array<f32>;
override WG: u32 = 32;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let s = (w.y * n.x + w.x) * WG + l.x;
  if (s >= p.S) { return; }
  var total = 0.0;
  for (var m = span[s].x; m < span[s].y; m++) { total += logp[m]; }
  sum[s] = total;
}
