// DPO and its relatives on summed log-probabilities. Pair i: chosen is sequence 2i, rejected 2i+1.
// Δ = (π_c − π₀_c) − (π_r − π₀_r)
//   0 sigmoid       −log σ(βΔ)                                         (Rafailov 2023, eq. 7)
//   1 ipo           (c/|y_c| − r/|y_r| − 1/(2β))²,  c, r log-ratios     (Azar 2023, TRL's length-normalised form)
//   2 hinge         relu(1 − βΔ)                                        (SLiC)
//   3 robust        [−(1−ε) log σ(βΔ) + ε log σ(−βΔ)] / (1−2ε)          (Chowdhury 2024)
//   4 sigmoid_norm  −log σ(β (c/|y_c| − r/|y_r|))
// pair[i] = (loss, reward chosen β c, reward rejected β r, Δ)      loss is the pair's own, not yet divided by the number of pairs
// dsum[s] = dL/d(sum[s]) where L = Σ_i weight[i] loss_i − Σ_s sft[s] sum[s]; weight is 1/pairs, or 0 for an empty place.
// sum, reference, sft, dsum: (S)  length: (S)  weight: (pairs)  hyper: (β, ε, loss type, 0).
// A sum or reference that is not finite (on bits: WGSL promises neither NaN nor Inf, and the clamps below would hide it)
// gets a gradient of 1e30, so that the norm overflows and adamw refuses the step.
// One thread per sequence pair; sequences past 2·pairs carry only their sft term, so threads run over ceil(S/2).
struct P { S: u32, pairs: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> sum: array<f32>;
@group(0) @binding(2) var<storage, read> span: array<vec2u>;
@group(0) @binding(3) var<storage, read> reference: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> sft: array<f32>;
@group(0) @binding(6) var<storage, read> hyper: array<f32>;
@group(0) @binding(7) var<storage, read_write> pair: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> dsum: array<f32>;
override WG: u32 = 32;

fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(clamp(-x, -80.0, 80.0))); }
fn finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }
// log σ(x) without overflow: min(x, 0) − log(1 + exp(−|x|))
fn logSigmoid(x: f32) -> f32 { return min(x, 0.0) - log(1.0 + exp(max(-abs(x), -80.0))); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  let sc = 2u * i;
  let sr = sc + 1u;
  if (sc >= p.S) { return; }
  if (i >= p.pairs) {
    dsum[sc] = select(1e30, -sft[sc], finite(sum[sc]));
    if (sr < p.S) { dsum[sr] = select(1e30, -sft[sr], finite(sum[sr])); }
    return;
  }
  let beta = hyper[0];
  let noise = hyper[1];
  let kind = u32(hyper[2]);
  let c = sum[sc] - reference[sc];
  let r = sum[sr] - reference[sr];
  let delta = c - r;
  let nc = f32(max(span[sc].y - span[sc].x, 1u));
  let nr = f32(max(span[sr].y - span[sr].x, 1u));
  var loss = 0.0;
  var dc = 0.0; // dloss/dc
  var dr = 0.0;
  switch kind {
    case 1u: {
      let gap = c / nc - r / nr - 1.0 / (2.0 * beta);
      loss = gap * gap;
      dc = 2.0 * gap / nc;
      dr = -2.0 * gap / nr;
    }
    case 2u: {
      loss = max(0.0, 1.0 - beta * delta);
      dc = select(0.0, -beta, beta * delta < 1.0);
      dr = -dc;
    }
    case 3u: {
      loss = (-(1.0 - noise) * logSigmoid(beta * delta) + noise * logSigmoid(-beta * delta)) / (1.0 - 2.0 * noise);
      dc = beta * (-(1.0 - noise) * sigmoid(-beta * delta) - noise * sigmoid(beta * delta)) / (1.0 - 2.0 * noise);
      dr = -dc;
    }
    case 4u: {
      let x = beta * (c / nc - r / nr);
      loss = -logSigmoid(x);
      dc = -beta * sigmoid(-x) / nc;
      dr = beta * sigmoid(-x) / nr;
    }
    default: {
      loss = -logSigmoid(beta * delta);
      dc = -beta * sigmoid(-beta * delta);
      dr = -dc;
    }
  }
  pair[i] = vec4f(loss, beta * c, beta * r, delta);
  let sound = finite(sum[sc]) && finite(sum[sr]) && finite(reference[sc]) && finite(reference[sr]);
  dsum[sc] = select(1e30, weight[i] * dc - sft[sc], sound);
  dsum[sr] = select(1e30, weight[i] * dr - sft[sr], sound);
}
