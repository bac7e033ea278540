// logp[m] = logits[m, target[m]] − lse[m],  lse[m] = log Σ_v exp(logits[m,v])
// logits: (M,V)  target: (M) u32  logp, lse: (M).  Running maximum, one thread per row.
struct P { M: u32, V: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> logp: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
override WG: u32 = 32;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let m = (w.y * n.x + w.x) * WG + l.x;
  if (m >= p.M) { return; }
  let base = m * p.V;
  var top = -1e30;
  for (var v = 0u; v < p.V; v++) { top = max(top, logits[base + v]); }
  var total = 0.0;
  for (var v = 0u; v < p.V; v++) { total += exp(max(logits[base + v] - top, -80.0)); }
  let norm = top + log(total);
  lse[m] = norm;
  logp[m] = logits[base + targets[m]] - norm;
}
