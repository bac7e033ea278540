// Many matrices of one buffer, transposed into another one: y[t][c, r] = x[t][r, c], x[t]: (R, C).
// place[t]: (first workgroup, start in x, start in y, unused), size[t]: (R, C, 0, 0); elements, workgroups rising.
// One thread per element; a workgroup belongs to one matrix, the last one whose first workgroup is not behind it.
const N: u32 = 1u; // matrices, set when the shader is loaded
struct P { place: array<vec4u, N>, size: array<vec4u, N> }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let group = w.y * n.x + w.x;
  var low = 0u;
  var high = N;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (p.place[middle].x <= group) { low = middle; } else { high = middle; }
  }
  let place = p.place[low];
  let R = p.size[low].x;
  let C = p.size[low].y;
  let i = (group - place.x) * WG + l.x;
  if (i >= R * C) { return; }
  y[place.z + i] = x[place.y + (i % R) * C + i / R];
}
