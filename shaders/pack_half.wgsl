// y[i] = f16(x[2i]) | f16(x[2i+1]) << 16: f32 rounded to f16, two in a word, the order in which array<vec4<f16>> reads them.
// x: (2n) f32  y: (n) u32.  One thread per word.
@group(0) @binding(0) var<uniform> n: u32;
@group(0) @binding(1) var<storage, read> x: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * g.x + w.x) * 64u + l.x;
  if (i < n) { y[i] = pack2x16float(x[i]); }
}
