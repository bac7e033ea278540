// GRPO (Shao 2024, eq. 3; TRL's GRPOTrainer), one term a token:
//   ratio = exp(logp − old),  kl = exp(reference − logp) − (reference − logp) − 1   (Schulman's k3)
//   loss[m] = weight[m] · (−min(ratio A, clamp(ratio, 1 − ε_low, 1 + ε_high) A) + β kl)
// dlogp[m] = weight[m] · (−ratio A where that is the smaller one, else 0, + β (1 − exp(reference − logp))).
// logp, old, reference, advantage, weight, dlogp: (M), weight 0 for padding.  hyper: (β, ε_low, ε_high, 1 if old is logp).
// out: (M,4) of (loss, kl, 1 if clipped, logp).  Not finite: a gradient of 1e30, which adamw refuses.  One thread per token.
struct P { M: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> logp: array<f32>;
@group(0) @binding(2) var<storage, read> old: array<f32>;
@group(0) @binding(3) var<storage, read> reference: array<f32>;
@group(0) @binding(4) var<storage, read> term: array<vec2f>; // (advantage, weight)
@group(0) @binding(5) var<storage, read> hyper: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dlogp: array<f32>;
override WG: u32 = 64;

fn finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let m = (w.y * n.x + w.x) * WG + l.x;
  if (m >= p.M) { return; }
  let A = term[m].x;
  let weight = term[m].y;
  if (weight == 0.0) {
    out[m] = vec4f(0.0, 0.0, 0.0, logp[m]);
    dlogp[m] = 0.0;
    return;
  }
  let beta = hyper[0];
  let before = select(old[m], logp[m], hyper[3] == 1.0);
  let ratio = exp(clamp(logp[m] - before, -80.0, 80.0));
  let bounded = clamp(ratio, 1.0 - hyper[1], 1.0 + hyper[2]);
  let clipped = ratio * A > bounded * A;
  var kl = 0.0;
  var dkl = 0.0;
  if (beta != 0.0) {
    let gap = reference[m] - logp[m];
    let e = exp(clamp(gap, -80.0, 80.0));
    kl = e - gap - 1.0;
    dkl = 1.0 - e;
  }
  out[m] = vec4f(weight * (beta * kl - min(ratio * A, bounded * A)), kl, select(0.0, 1.0, clipped), logp[m]);
  let sound = finite(logp[m]) && finite(before) && finite(A) && (beta == 0.0 || finite(reference[m]));
  dlogp[m] = select(1e30, weight * (beta * dkl - select(ratio * A, 0.0, clipped)), sound);
}
