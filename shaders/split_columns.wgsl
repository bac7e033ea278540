// q, k, v = the columns of x side by side, each as a tensor of its own: what decoding's kernels read.
// x: (R, Q + 2 K)  q: (R, Q)  k, v: (R, K).  One thread per V of x.
alias V = f32; // or vec4f: Q and K count elements of V. Set when the shader is loaded.
struct P { R: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> q: array<V>;
@group(0) @binding(3) var<storage, read_write> k: array<V>;
@group(0) @binding(4) var<storage, read_write> v: array<V>;
override WG: u32 = 256;
override Q: u32 = 1; // constants, since a division by what is none costs more than all the rest
override K: u32 = 1;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  let C = Q + 2u * K;
  if (i >= p.R * C) { return; }
  let r = i / C;
  let c = i % C;
  if (c < Q) { q[r * Q + c] = x[i]; }
  else if (c < Q + K) { k[r * K + c - Q] = x[i]; }
  else { v[r * K + c - Q - K] = x[i]; }
}
