// logp[m] = logit of the target − top[m] − log Σ,  from the Z parts that logprob_chunk left.
// state: (Z,M) of (top, Σ exp(logit − top), logit of the target, 0); the target's logit is 0 in all parts but one.
// logp: (M)  norm: (M) of (top, log Σ), kept apart so that large logits lose no digits.  One thread per row.
struct P { M: u32, Z: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> state: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> logp: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<vec2f>;
override WG: u32 = 32;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let m = (w.y * n.x + w.x) * WG + l.x;
  if (m >= p.M) { return; }
  var top = -1e30;
  for (var z = 0u; z < p.Z; z++) { top = max(top, state[z * p.M + m].x); }
  var total = 0.0;
  var hit = 0.0;
  for (var z = 0u; z < p.Z; z++) {
    let part = state[z * p.M + m];
    total += part.y * exp(max(part.x - top, -80.0));
    hit += part.z;
  }
  norm[m] = vec2f(top, log(total));
  logp[m] = hit - top - log(total);
}
