// forward was: y = g σ(g) u
// du = dy g σ(g)        dg = dy u σ(g) (1 + g (1 − σ(g)))      all (N).  One thread per V.
alias V = f32; // or vec4f: N counts elements of V. Set when the shader is loaded.
struct P { N: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> gate: array<V>;
@group(0) @binding(2) var<storage, read> up: array<V>;
@group(0) @binding(3) var<storage, read> dy: array<V>;
@group(0) @binding(4) var<storage, read_write> dgate: array<V>;
@group(0) @binding(5) var<storage, read_write> dup: array<V>;
override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.N) { return; }
  let g = gate[i];
  let s = 1.0 / (1.0 + exp(min(-g, V(80.0))));
  dup[i] = dy[i] * g * s;
  dgate[i] = dy[i] * up[i] * s * (1.0 + g * (1.0 - s));
}
