// y[i] = Σ_z x[z,i]  (+ y[i] if ACC)      x: (Z,N)  y: (N).  One thread per V, in fixed order: same sum every run.
alias V = f32; // or vec4f: N counts elements of V. Set when the shader is loaded.
struct P { Z: u32, N: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> y: array<V>;
override WG: u32 = 256;
override ACC: u32 = 0;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.N) { return; }
  var sum = V();
  for (var z = 0u; z < p.Z; z++) { sum += x[z * p.N + i]; }
  if (ACC == 1u) { y[i] = y[i] + sum; } else { y[i] = sum; }
}
