// square = Σ_z part[z], in fixed order; infinity if the sum is not finite or has not been since `halt` was cleared.
// part: (Z)  square: (1), f32 as bits, since WGSL has no infinity of its own  halt: (1), set by the first such sum.
// A step that is not finite thus changes nothing (see adamw), and neither do those that were submitted behind it.
// One thread.
struct P { Z: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> part: array<f32>;
@group(0) @binding(2) var<storage, read_write> square: array<u32>;
@group(0) @binding(3) var<storage, read_write> halt: array<u32>;

const INFINITY = 0x7f800000u;

@compute @workgroup_size(1)
fn main() {
  var sum = 0.0;
  for (var z = 0u; z < p.Z; z++) { sum += part[z]; }
  let bits = bitcast<u32>(sum);
  if ((bits & INFINITY) == INFINITY) { halt[0] = 1u; }
  square[0] = select(bits, INFINITY, halt[0] == 1u);
}
