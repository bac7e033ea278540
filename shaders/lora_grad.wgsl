// Gradients of the low-rank factors of up to three projections (the members), by parts of the rows:
//   part[s, A_m[k, j]] = Σ_(r in part s) x[r, k] dz[r, m, j]                 part[s, B_m[j, n]] = Σ_r z[r, m, j] dy[r, first_m + n]
// x = wide0: (R, K)  dy = wide1: (R, W)  dz = skinny0, z = skinny1: (R, count · rank).  part: (parts, size of the flat buffer);
// its parts are added up by reduce_sum, layer by layer.  Everything in vec4.
// members: (first column in dy, columns, place of A, place of B).
// A thread owns one vec4 of x or dy and J vec4 of the other factor's columns; w.y says which member, w.z which part. It takes
// STEP rows at a time: lane l loads vec4 l mod J of row l / J mod STEP and broadcasts it (EXCHANGE, needs subgroups of J · STEP).
#if EXCHANGE: enable subgroups;
const EXCHANGE: u32 = 0u;
const J: u32 = 1u;
const STEP: u32 = 1u;
struct P { R: u32, chunk: u32, K4: u32, W4: u32, rank4: u32, count: u32, size: u32, x: u32, members: array<vec4u, 3> }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> wide0: array<vec4f>;
@group(0) @binding(2) var<storage, read> wide1: array<vec4f>;
@group(0) @binding(3) var<storage, read> skinny0: array<vec4f>;
@group(0) @binding(4) var<storage, read> skinny1: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> part: array<vec4f>;
override WG: u32 = 16;

@compute @workgroup_size(WG)
fn main(
  #if EXCHANGE: @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u
) {
  let tiles = p.rank4 / J;
  let job = w.y / tiles;
  let m = job % p.count;
  let j4 = (w.y % tiles) * J;
  let own = p.members[m];
  let n = w.x * WG + l.x;
  let begin = w.z * p.chunk;
  let end = min(begin + p.chunk, p.R);
  let base = w.z * p.size;
  let skinny = m * p.rank4 + j4;
  let stride = p.count * p.rank4;
  #for j < J
    #for q < 4: var c$j_$q = vec4f();
  #end
  var v: vec4f;
  if (job < p.count) {
    let column = min(n, p.K4 - 1u);
    for (var r = begin; r < end; r += STEP) {
      #if EXCHANGE: let loaded = skinny0[min(r + lane / J % STEP, end - 1u) * stride + skinny + lane % J];
      #for s < STEP
        let x$s = select(vec4f(), wide0[min(r + laneOf($su * J) / J, end - 1u) * p.K4 + column], r + laneOf($su * J) / J < end);
        #for j < J
          #if EXCHANGE: v = fromLane(loaded, $su * J + $ju);
          #if !EXCHANGE: v = skinny0[r * stride + skinny + $ju];
          #for q < 4: c$j_$q += x$s[$q] * v;
        #end
      #end
    }
    if (n < p.K4) {
      #for j < J
        #for q < 4: part[base + own.z + (4u * n + $qu) * p.rank4 + j4 + $ju] = c$j_$q;
      #end
    }
  } else {
    let column = own.x + min(n, own.y - 1u);
    for (var r = begin; r < end; r += STEP) {
      #if EXCHANGE: let loaded = skinny1[min(r + lane / J % STEP, end - 1u) * stride + skinny + lane % J];
      #for s < STEP
        let x$s = select(vec4f(), wide1[min(r + laneOf($su * J) / J, end - 1u) * p.W4 + column], r + laneOf($su * J) / J < end);
        #for j < J
          #if EXCHANGE: v = fromLane(loaded, $su * J + $ju);
          #if !EXCHANGE: v = skinny1[r * stride + skinny + $ju];
          #for q < 4: c$j_$q += v[$q] * x$s;
        #end
      #end
    }
    if (n < own.y) {
      #for j < J
        #for q < 4: part[base + own.w + (4u * (j4 + $ju) + $qu) * own.y + n] = c$j_$q;
      #end
    }
  }
}
