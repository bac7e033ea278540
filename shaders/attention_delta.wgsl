// stats[i] = (lse[i], delta[i]),  delta[i] = dO[i]·o[i] = Σ_j P[i,j] dO[i]·v[j]: what both backward kernels need per row.
// o, dO: (B,T,H,D)  lse: (B,H,T)  stats: (B,H,T) of pairs.  One thread per (b, h, i).
struct P { B: u32, T: u32, H: u32, D4: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> o: array<vec4f>;
@group(0) @binding(2) var<storage, read> dout: array<vec4f>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2f>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * n.x + w.x) * WG + l.x;
  if (t >= p.B * p.H * p.T) { return; }
  let at = (((t / (p.T * p.H)) * p.T + t % p.T) * p.H + (t / p.T) % p.H) * p.D4;
  var dots = vec4f();
  for (var d = 0u; d < p.D4; d++) { dots += dout[at + d] * o[at + d]; }
  stats[t] = vec2f(lse[t], dots.x + dots.y + dots.z + dots.w);
}
