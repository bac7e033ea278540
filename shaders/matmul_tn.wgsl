// y[z,m,n] = scale · Σ_(r in chunk z) a[r,m] b[r,n], then as in matmul_output          no shared memory, no barrier
// a: (K,R)  b: (K,N)  y: (Z,R,N), summed by matmul_sum if Z > 1: the weight gradient dW = dYᵀ X, where K counts the rows
// of the batch (p.K4 of them, not vec4) and R the rows of dW. R and N multiples of 4.
// A thread owns 4 · QUADS rows of y and COLS vec4 of columns, WX apart, and takes TURNS · STEP rows of a and b at a time.
// EXCHANGE: lane l loads vec4 l mod QUADS of row l / QUADS mod STEP of a, TURNS times, and broadcasts it. That needs subgroups
// of at least QUADS · STEP; the result does not depend on their size. All loads of a turn come before all sums: llvmpipe
// makes a test and a branch of each number that a lane loads, and a sum that lives across branches goes through memory.
// BLOCK: sums are stored by a loop, which takes a tenth of the time to compile, and which a GPU would pay for.
#if EXCHANGE: enable subgroups;
const QUADS: u32 = 4u;
const STEP: u32 = 1u;
const TURNS: u32 = 1u;
const COLS: u32 = 1u;
const BLOCK: u32 = 0u;
const EXCHANGE: u32 = 0u;
const F16: u32 = 0u;
const HALF_A: u32 = 0u;
const PLUS: u32 = 0u;
const ACC: u32 = 0u;
override WX: u32 = 16;
const SUMS = 4u * QUADS * COLS; // of a thread
#include matmul_sizes
#include matmul_operands
#include matmul_output

@compute @workgroup_size(WX)
fn main(
  #if EXCHANGE: @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u
) {
  let R4 = p.R / 4u;
  let n = w.y * WX * COLS + l.x;
  #for c < COLS: let n$c = min(n + $cu * WX, p.N4 - 1u);
  let m4 = w.x * QUADS;
  let begin = w.z * p.chunk;
  let end = min(begin + p.chunk, p.K4);
  #for q < QUADS
    #for i < 4
      #for c < COLS: var c$q_$i_$c = vec4f();
    #end
  #end
  #if EXCHANGE
    let column = min(m4 + lane % QUADS, R4 - 1u);
    let step = lane / QUADS % STEP;
  #end
  for (var k = begin; k < end; k += TURNS * STEP) {
    // Rows past the end are loaded again and counted as zero.
    #for t < TURNS
      #if EXCHANGE: let own$t = loadA(min(k + $tu * STEP + step, end - 1u) * R4 + column);
      #for s < STEP
        let k$t_$s = k + $tu * STEP + $su;
        #for c < COLS: let b$t_$s_$c = select(vec4f(), loadB(min(k$t_$s, end - 1u) * p.N4 + n$c), k$t_$s < end);
        #if !EXCHANGE
          #for q < QUADS: let v$t_$s_$q = loadA(min(k$t_$s, end - 1u) * R4 + min(m4 + $qu, R4 - 1u));
        #end
      #end
    #end
    #for q < QUADS
      #for t < TURNS
        #for s < STEP
          #if EXCHANGE: let v$t_$s_$q = fromLane(own$t, $su * QUADS + $qu);
          #for i < 4
            #for c < COLS: c$q_$i_$c += v$t_$s_$q[$i] * b$t_$s_$c;
          #end
        #end
      #end
    #end
  }
  #if !BLOCK
    #for q < QUADS
      #for i < 4
        #for c < COLS: put(w.z, (m4 + $qu) * 4u + $iu, n + $cu * WX, c$q_$i_$c);
      #end
    #end
  #end
  #if BLOCK
    var sums: array<vec4f, SUMS>;
    #for q < QUADS
      #for i < 4
        #for c < COLS: sums[($qu * 4u + $iu) * COLS + $cu] = c$q_$i_$c;
      #end
    #end
    for (var s = 0u; s < SUMS; s++) { put(w.z, m4 * 4u + s / COLS, n + s % COLS * WX, sums[s]); }
  #end
}
