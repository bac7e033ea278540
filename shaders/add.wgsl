// y[i] = a[i] + b[i mod M]      a, y: (N)  b: (M), M divides N (M = N: elementwise; M = C: a bias on every row).
// One thread per V.
alias V = f32; // or vec4f: N and M count elements of V. Set when the shader is loaded.
struct P { N: u32, M: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<V>;
@group(0) @binding(2) var<storage, read> b: array<V>;
@group(0) @binding(3) var<storage, read_write> y: array<V>;
override WG: u32 = 256;
override REPEAT: u32 = 1; // 0 if M = N: an integer division costs more than the sum, and a branch that is not taken too

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.N) { return; }
  if (REPEAT == 1u) { y[i] = a[i] + b[i % p.M]; } else { y[i] = a[i] + b[i]; }
}
