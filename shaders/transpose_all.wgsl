// Many matrices of one buffer, transposed into another one: y[t][c, r] = x[t][r, c], x[t]: (R, C).
// place[t]: (first workgroup, start in x, start in y, unused), size[t]: (R, C, 0, 0); workgroups rising.
// One thread per element, or, if BLOCKS, per 4 × 4 of them (R, C and the starts multiples of 4, and counted in vec4): what it
// takes to find its place is paid once for sixteen. A workgroup belongs to one matrix, the last one whose first workgroup
// is not behind it.
const N: u32 = 1u; // matrices, set when the shader is loaded
const BLOCKS: u32 = 0u;
struct P { place: array<vec4u, N>, size: array<vec4u, N> }
@group(0) @binding(0) var<uniform> p: P;
#if !BLOCKS
  @group(0) @binding(1) var<storage, read> x: array<f32>;
  @group(0) @binding(2) var<storage, read_write> y: array<f32>;
#end
#if BLOCKS
  @group(0) @binding(1) var<storage, read> x: array<vec4f>;
  @group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
#end
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
  let r = i % R;
  let c = i / R;
  #if !BLOCKS: y[place.z + i] = x[place.y + r * C + c];
  #if BLOCKS
    let first = place.y + 4u * r * C + c;
    let a = x[first];
    let b = x[first + C];
    let d = x[first + 2u * C];
    let e = x[first + 3u * C];
    let to = place.z + 4u * c * R + r;
    #for k < 4: y[to + $ku * R] = vec4f(a[$k], b[$k], d[$k], e[$k]);
  #end
}
