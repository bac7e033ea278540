// Low-rank updates themselves, for up to three projections at once (the members), to hold weights with their adapters added:
//   y[r, first_m + n] += scale · Σ_j A_m[r, j] B_m[j, n]         each member has columns of its own in y
// factors: flat buffer of A_m: (R, rank), B_m: (rank, columns)  y: (R, W).  Everything in vec4.
// members: (first column in y, columns, place of B, place of A).
// A thread owns LOADS · LANES rows and one vec4 of columns; lane l loads A of row l mod LANES and broadcasts it, as in
// matmul_nn (EXCHANGE, needs subgroups of LANES).
#if EXCHANGE: enable subgroups;
const LANES: u32 = 1u;
const LOADS: u32 = 8u;
const EXCHANGE: u32 = 0u;
struct P { R: u32, W4: u32, rank4: u32, count: u32, scale: f32, x: u32, y: u32, z: u32, members: array<vec4u, 3> }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> factors: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
override WG: u32 = 16;

@compute @workgroup_size(WG)
fn main(
  #if EXCHANGE: @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u
) {
  #if !EXCHANGE: let lane = 0u;
  let n = w.x * WG + l.x;
  let row = w.y * (LOADS * LANES);
  let top = p.R - 1u;
  let own = p.members[w.z];
  #for i < LOADS: let at$i = own.w + min(row + lane % LANES + $iu * LANES, top) * p.rank4;
  #for i < LOADS
    #for c < LANES: var s$i_$c = vec4f();
  #end
  let column = min(n, own.y - 1u);
  for (var j = 0u; j < p.rank4; j++) {
    #for q < 4: let b$q = factors[own.z + (4u * j + $qu) * own.y + column];
    #for i < LOADS: let a$i = factors[at$i + j];
    var v: vec4f;
    #for i < LOADS
      #for c < LANES
        v = fromLane(a$i, $cu);
        #for e < 4: let s$i_$c_$e = s$i_$c[$e] + b0[$e] * v.x + b1[$e] * v.y + b2[$e] * v.z + b3[$e] * v.w;
        s$i_$c = vec4f(s$i_$c_0, s$i_$c_1, s$i_$c_2, s$i_$c_3);
      #end
    #end
  }
  if (n >= own.y) { return; }
  #for i < LOADS
    #for c < LANES
      if (row + $iu * LANES + laneOf($cu) < p.R) {
        let at = (row + $iu * LANES + laneOf($cu)) * p.W4 + own.x + n;
        y[at] = y[at] + p.scale * s$i_$c;
      }
    #end
  #end
}
