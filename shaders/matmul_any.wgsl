// y[r,n] = scale * Σ_k a[r·ar + k·ak] b[k·bk + n·bn]  (+ y[r,n] if ACC)  (+ plus[r mod plusRows, n] if PLUS)
// a and b with any strides (so any transposition), any sizes; y: (R,N). One thread per element: the kernel for
// shapes that the vec4 kernels cannot take.
struct P { R: u32, K: u32, N: u32, ar: u32, ak: u32, bk: u32, bn: u32, plusRows: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#if PLUS: @group(0) @binding(4) var<storage, read> plus: array<f32>;
const PLUS: u32 = 0u;
override WG: u32 = 64;
override ACC: u32 = 0;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.R * p.N) { return; }
  let r = i / p.N;
  let c = i % p.N;
  var sum = 0.0;
  for (var k = 0u; k < p.K; k++) { sum += a[r * p.ar + k * p.ak] * b[k * p.bk + c * p.bn]; }
  var v = p.scale * sum;
  if (ACC == 1u) { v += y[i]; }
  #if PLUS: v += plus[r % p.plusRows * p.N + c];
  y[i] = v;
}
