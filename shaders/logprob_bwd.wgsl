// forward was: logp[m] = logits[m, target] − log Σ_v exp(logits[m,v])
// dlogits[m,v] = dlogp[m] · ((v = target) − exp(logits[m,v] − top[m] − log Σ)).   norm: (M) of (top, log Σ).
// One thread per (m, v).
struct P { M: u32, V: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> norm: array<vec2f>;
@group(0) @binding(4) var<storage, read> dlogp: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.M * p.V) { return; }
  let m = i / p.V;
  let hit = select(0.0, 1.0, i % p.V == targets[m]);
  dlogits[i] = dlogp[m] * (hit - exp(clamp(logits[i] - norm[m].x - norm[m].y, -80.0, 0.5)));
}
