// z (+)= Σ_s weight[s] (sum[s] − reference[s]): the batch's estimate of KL(π‖π₀) from answers paired with other prompts
// (Ethayarajh 2024, section 4.1); it carries no gradient.   sum, reference, weight: (S)  z: (1), begun anew if FIRST.
// One thread: S is the rows of a batch.
struct P { S: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> sum: array<f32>;
@group(0) @binding(2) var<storage, read> reference: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> z: array<f32>;
override FIRST: u32 = 0;

@compute @workgroup_size(1)
fn main() {
  var total = 0.0;
  if (FIRST == 0u) { total = z[0]; }
  for (var s = 0u; s < p.S; s++) {
    if (weight[s] != 0.0) { total += weight[s] * (sum[s] - reference[s]); }
  }
  z[0] = total;
}
