// y[i] = silu(gate[i]) * up[i],  silu(g) = g / (1 + exp(−g)).   gate, up, y: (N).  One thread per V.
// exp(−g) is kept finite: WGSL promises no infinity.
alias V = f32; // or vec4f: N counts elements of V. Set when the shader is loaded.
struct P { N: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> gate: array<V>;
@group(0) @binding(2) var<storage, read> up: array<V>;
@group(0) @binding(3) var<storage, read_write> y: array<V>;
override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.N) { return; }
  let g = gate[i];
  y[i] = g / (1.0 + exp(min(-g, V(80.0)))) * up[i];
}
