// forward was: logp[m] = logits[target,m] − log Σ_v exp(logits[v,m])
// In place, for one chunk of the vocabulary whose logits were computed again:
// logits[v,m] ← dlogp[m] · ((first + v = target) − exp(logits[v,m] − top[m] − log Σ)) = dlogits.
// logits: (n,M)  target: (M) u32  norm: (M) of (top, log Σ)  dlogp: (M).  One thread per (v, m).
struct P { M: u32, n: u32, first: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> norm: array<vec2f>;
@group(0) @binding(3) var<storage, read> dlogp: array<f32>;
@group(0) @binding(4) var<storage, read_write> logits: array<f32>;
override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.M * p.n) { return; }
  let m = i % p.M;
  let hit = select(0.0, 1.0, p.first + i / p.M == targets[m]);
  logits[i] = dlogp[m] * (hit - exp(clamp(logits[i] - norm[m].x - norm[m].y, -80.0, 0.5)));
}
