// y[i,c] = index[i] < R ? x[index[i], c] : 0   (+ y if ACC)
// x: (R,C)  index: (M) u32, 0xffffffff for "no row"  y: (M,C).  One thread per V. The backward of a gather whose
// rows are distinct is a gather with the inverse index.
alias V = f32; // or vec4f: C counts elements of V. Set when the shader is loaded.
struct P { M: u32, C: u32, R: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<V>;
@group(0) @binding(3) var<storage, read_write> y: array<V>;
override WG: u32 = 256;
override ACC: u32 = 0;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.M * p.C) { return; }
  let r = index[i / p.C];
  var v = V();
  if (r < p.R) { v = x[r * p.C + i % p.C]; }
  if (ACC == 1u) { y[i] = y[i] + v; } else { y[i] = v; }
}
