// y[2i], y[2i+1] = the two f16 in word i of x, as f32.  x: (n) u32  y: (2n) f32.  One thread per word.
@group(0) @binding(0) var<uniform> n: u32;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2f>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * g.x + w.x) * 64u + l.x;
  if (i < n) { y[i] = unpack2x16float(x[i]); }
}
