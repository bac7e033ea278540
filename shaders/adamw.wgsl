// AdamW (Loshchilov & Hutter 2019) over all trainable tensors at once, after clipping by the global norm.
// g ← grad · min(1, maxNorm / (|grad| + 1e-6));  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²
// w ← w − lr·wd·w − lr · (m/bc1) / (√(v/bc2) + eps),   bcᵢ = 1 − βᵢ^step
// w, grad, m, v: (N)  square: (1) = |grad|²  One thread per V.
// hyper: (lr, β₁, β₂, eps, wd, bc1, bc2, maxNorm, 1−β₁, 1−β₂), computed by the host in f64: 1 − 0.999 in f32 is off by 1.3e-5 of itself.
// A norm that is not finite (checked on bits: WGSL promises neither NaN nor Inf) changes nothing.
alias V = f32; // or vec4f: N counts elements of V. Set when the shader is loaded.
struct P { N: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> grad: array<V>;
@group(0) @binding(2) var<storage, read> square: array<f32>;
@group(0) @binding(3) var<storage, read> hyper: array<f32>;
@group(0) @binding(4) var<storage, read_write> weight: array<V>;
@group(0) @binding(5) var<storage, read_write> m: array<V>;
@group(0) @binding(6) var<storage, read_write> v: array<V>;
override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.N) { return; }
  if ((bitcast<u32>(square[0]) & 0x7f800000u) == 0x7f800000u) { return; }
  let norm = sqrt(square[0]);
  let g = grad[i] * min(1.0, hyper[7] / (norm + 1e-6));
  let mean = hyper[1] * m[i] + hyper[8] * g;
  let variance = hyper[2] * v[i] + hyper[9] * g * g;
  m[i] = mean;
  v[i] = variance;
  let decayed = weight[i] - hyper[0] * hyper[4] * weight[i];
  weight[i] = decayed - hyper[0] * (mean / hyper[5]) / (sqrt(variance / hyper[6]) + hyper[3]);
}
