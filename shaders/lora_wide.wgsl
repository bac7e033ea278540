// From the few columns of low-rank factors back to a wide matrix, for up to three projections at once (the members):
//   NT 0   y[r, first_m + n] += scale · Σ_j z[r, m, j] B_m[j, n]         each member has columns of its own in y
//   NT 1   dx[r, k] += scale · Σ_m Σ_j dz[r, m, j] A_m[k, j]             all members add to the same columns
// z: rows of zStride  factors: flat buffer of A_m: (W, rank), B_m: (rank, columns)  y: (R, W).  Everything in vec4.
// members: (first column in y, columns, place of the factor, place in a row of z).
// A thread owns LOADS · LANES rows and one vec4 of columns; lane l loads z of row l mod LANES and broadcasts it, as in
// matmul_nn (EXCHANGE, needs subgroups of LANES).
#if EXCHANGE: enable subgroups;
const LANES: u32 = 1u;
const LOADS: u32 = 8u;
const EXCHANGE: u32 = 0u;
const NT: u32 = 0u;
struct P { R: u32, W4: u32, rank4: u32, count: u32, zStride: u32, scale: f32, x: u32, y: u32, members: array<vec4u, 3> }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> z: array<vec4f>;
@group(0) @binding(2) var<storage, read> factors: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
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
  #for i < LOADS: let z$i = min(row + lane % LANES + $iu * LANES, top) * p.zStride;
  #for i < LOADS
    #for c < LANES: var s$i_$c = vec4f();
  #end
  #if !NT: let begin = w.z;
  #if NT: let begin = 0u;
  #if !NT: let end = w.z + 1u;
  #if NT: let end = p.count;
  for (var m = begin; m < end; m++) {
    let own = p.members[m];
    let column = min(n, own.y - 1u);
    for (var j = 0u; j < p.rank4; j++) {
      #if !NT
        #for q < 4: let b$q = factors[own.z + (4u * j + $qu) * own.y + column];
      #end
      #if NT
        #for q < 4: let t$q = factors[own.z + (4u * column + $qu) * p.rank4 + j];
        let b0 = vec4f(t0.x, t1.x, t2.x, t3.x);
        let b1 = vec4f(t0.y, t1.y, t2.y, t3.y);
        let b2 = vec4f(t0.z, t1.z, t2.z, t3.z);
        let b3 = vec4f(t0.w, t1.w, t2.w, t3.w);
      #end
      #for i < LOADS: let a$i = z[z$i + own.w + j];
      var v: vec4f;
      #for i < LOADS
        #for c < LANES
          v = fromLane(a$i, $cu);
          #for e < 4: let s$i_$c_$e = s$i_$c[$e] + b0[$e] * v.x + b1[$e] * v.y + b2[$e] * v.z + b3[$e] * v.w;
          s$i_$c = vec4f(s$i_$c_0, s$i_$c_1, s$i_$c_2, s$i_$c_3);
        #end
      #end
    }
  }
  let own = p.members[begin];
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
