// KTO (Ethayarajh 2024, eq. 8; TRL's `kto`): loss[s] = 1 − σ(label β (c − z₊)),  c = sum − reference,  z₊ = max(0, z)
// label: (S) 1 desirable, −1 undesirable, 0 an empty place.  weight: (S), λ of the label over the number of answers.
// L = Σ_s weight[s] loss[s];  dsum[s] = dL/d(sum[s]) = −weight label β σ(x)(1 − σ(x)),  x = label β (c − z₊); z is a constant.
// out: (S,2) of (loss, reward β c), the answer's own, not weighted.  sum, reference, dsum: (S)  z: (1)  hyper: (β).
// A sum, reference or z that is not finite gets a gradient of 1e30, which adamw refuses (see preference_loss).
// One thread per answer.
struct P { S: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> sum: array<f32>;
@group(0) @binding(2) var<storage, read> reference: array<f32>;
@group(0) @binding(3) var<storage, read> label: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> z: array<f32>;
@group(0) @binding(6) var<storage, read> hyper: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<vec2f>;
@group(0) @binding(8) var<storage, read_write> dsum: array<f32>;
override WG: u32 = 32;

fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(clamp(-x, -80.0, 80.0))); }
fn finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let s = (w.y * n.x + w.x) * WG + l.x;
  if (s >= p.S) { return; }
  if (label[s] == 0.0) {
    out[s] = vec2f();
    dsum[s] = 0.0;
    return;
  }
  let beta = hyper[0];
  let c = sum[s] - reference[s];
  let x = label[s] * beta * (c - max(0.0, z[0]));
  out[s] = vec2f(sigmoid(-x), beta * c);
  let sound = finite(sum[s]) && finite(reference[s]) && finite(z[0]);
  dsum[s] = select(1e30, -weight[s] * label[s] * beta * sigmoid(x) * sigmoid(-x), sound);
}
