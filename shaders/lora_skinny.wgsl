// From a wide matrix to the few columns of low-rank factors, for up to three projections at once (the members):
//   NT 0   z[r, m, j] = scale · Σ_k x[r, k] A_m[k, j]                    every member reads all of x
//   NT 1   z[r, m, j] = scale · Σ_n y[r, first_m + n] B_m[j, n]          (dz) each one has columns of its own in y = dY
// wide: (R, W)  factors: flat buffer of A_m: (W, rank), B_m: (rank, columns)  z: (R, count · rank).  Everything in vec4.
// members: (first column in wide, columns, place of the factor, unused).
// A thread owns ROWS rows and J vec4 of z of one member; neighbours own neighbouring rows, so that the factor is the same
// for the whole workgroup: lane l loads vec4 l mod 4 J of it and broadcasts it (EXCHANGE, needs subgroups of 4 J).
#if EXCHANGE: enable subgroups;
const EXCHANGE: u32 = 0u;
const NT: u32 = 0u;
const ROWS: u32 = 2u;
const J: u32 = 1u;
const QUADS: u32 = 4u; // 4 J
struct P { R: u32, W4: u32, rank4: u32, count: u32, scale: f32, x: u32, y: u32, z: u32, members: array<vec4u, 3> }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> wide: array<vec4f>;
@group(0) @binding(2) var<storage, read> factors: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> z: array<vec4f>;
override WG: u32 = 16;

fn across(x: vec4f) -> f32 { return x.x + x.y + x.z + x.w; }

@compute @workgroup_size(WG)
fn main(
  #if EXCHANGE: @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u
) {
  let tiles = p.rank4 / J;
  let m = w.y / tiles;
  let j4 = (w.y % tiles) * J;
  let own = p.members[m];
  let row = w.x * WG * ROWS + l.x;
  #for i < ROWS: let x$i = min(row + $iu * WG, p.R - 1u) * p.W4 + own.x;
  #for i < ROWS
    #for q < QUADS: var c$i_$q = vec4f();
  #end
  // Vec4 q of the factor at step k: A_m[4k + q / J, j4 + q mod J], or B_m[4 j4 + q, k].
  #if !NT: let step = 4u * p.rank4;
  #if NT: let step = 1u;
  #if !EXCHANGE
    #for q < QUADS
      #if !NT: let f$q = own.z + $qu / J * p.rank4 + j4 + $qu % J;
      #if NT: let f$q = own.z + (4u * j4 + $qu) * own.y;
    #end
  #end
  #if EXCHANGE
    #if !NT: let mine = own.z + lane % QUADS / J * p.rank4 + j4 + lane % J;
    #if NT: let mine = own.z + (4u * j4 + lane % QUADS) * own.y;
  #end
  for (var k = 0u; k < own.y; k++) {
    #if EXCHANGE: let loaded = factors[mine + k * step];
    #for i < ROWS: let v$i = wide[x$i + k];
    var b: vec4f;
    #for q < QUADS
      #if EXCHANGE: b = fromLane(loaded, $qu);
      #if !EXCHANGE: b = factors[f$q + k * step];
      #for i < ROWS
        #if !NT: c$i_$q += v$i[laneOf($qu) / J] * b;
        #if NT: c$i_$q += v$i * b;
      #end
    #end
  }
  #for i < ROWS
    if (row + $iu * WG < p.R) {
      let at = ((row + $iu * WG) * p.count + m) * p.rank4 + j4;
      var sums = array<vec4f, QUADS>();
      #for q < QUADS: sums[laneOf($qu)] = c$i_$q;
      for (var j = 0u; j < J; j++) {
        #if !NT: z[at + j] = p.scale * (sums[j] + sums[J + j] + sums[2u * J + j] + sums[3u * J + j]);
        #if NT: z[at + j] = p.scale * vec4f(across(sums[4u * j]), across(sums[4u * j + 1u]), across(sums[4u * j + 2u]), across(sums[4u * j + 3u]));
      }
    }
  #end
}
