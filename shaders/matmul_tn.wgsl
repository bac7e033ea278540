// y[z,m,n] = scale · Σ_(r in chunk z) a[r,m] b[r,n], then as in matmul_output          no shared memory, no barrier
// a: (K,R)  b: (K,N)  y: (Z,R,N), summed by matmul_sum if Z > 1: the weight gradient dW = dYᵀ X, where K counts the rows
// of the batch (p.K4 of them, not vec4) and R the rows of dW. R and N multiples of 4.
// A thread owns 4 · QUADS rows of y and one vec4 of columns, and takes STEP rows of a and b at a time. EXCHANGE: lane l
// loads vec4 l mod QUADS of row l / QUADS mod STEP of a, and broadcasts it. That needs subgroups of at least
// QUADS · STEP; the result does not depend on their size.
#if EXCHANGE: enable subgroups;
const QUADS: u32 = 4u;
const STEP: u32 = 1u;
const EXCHANGE: u32 = 0u;
const F16: u32 = 0u;
const HALF_A: u32 = 0u;
const PLUS: u32 = 0u;
override WX: u32 = 16;
#include matmul_sizes
#include matmul_operands
#include matmul_output

@compute @workgroup_size(WX)
fn main(
  #if EXCHANGE: @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u
) {
  let R4 = p.R / 4u;
  let n = w.y * WX + l.x;
  let nn = min(n, p.N4 - 1u);
  let m4 = w.x * QUADS;
  let begin = w.z * p.chunk;
  let end = min(begin + p.chunk, p.K4);
  #for q < QUADS
    #for i < 4: var c$q_$i = vec4f();
  #end
  #if EXCHANGE
    let column = min(m4 + lane % QUADS, R4 - 1u);
    let step = lane / QUADS % STEP;
  #end
  for (var k = begin; k < end; k += STEP) {
    // Rows past the end are loaded again and counted as zero.
    #if EXCHANGE: let own = loadA(min(k + step, end - 1u) * R4 + column);
    var v: vec4f;
    #for s < STEP
      let x$s = select(vec4f(), loadB(min(k + $su, end - 1u) * p.N4 + nn), k + $su < end);
      #for q < QUADS
        #if EXCHANGE: v = fromLane(own, $su * QUADS + $qu);
        #if !EXCHANGE: v = loadA(min(k + $su, end - 1u) * R4 + min(m4 + $qu, R4 - 1u));
        c$q_0 += v.x * x$s; c$q_1 += v.y * x$s; c$q_2 += v.z * x$s; c$q_3 += v.w * x$s;
      #end
    #end
  }
  #for q < QUADS
    #for i < 4: put(w.z, (m4 + $qu) * 4u + $iu, n, c$q_$i);
  #end
}
