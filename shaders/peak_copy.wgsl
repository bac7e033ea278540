// y[i] = x[i], vec4 by vec4: the bandwidth that a shader gets from memory, reading and writing in sequence.
// x, y: (n) vec4.  One thread per vec4.
@group(0) @binding(0) var<uniform> n: u32;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) g: vec3u) {
  if (g.x < n) { y[g.x] = x[g.x]; }
}
