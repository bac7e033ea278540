// y[z,r,n] = scale · Σ_(k in chunk z) a[r,k] b[k,n], then as in matmul_output          no shared memory, no barrier
// a: (R,K)  b: (K,N), or (N,K) if NT  y: (Z,R,N), summed by matmul_sum if Z > 1; K a multiple of 4, N = 4 · COLS small:
// a product with a LoRA factor of rank 4 to 28. Neighbouring threads own neighbouring rows, ROWS each, and all columns.
// BROADCAST: the four lanes of a quad load a quarter of b each and broadcast it; otherwise every thread loads all of b.
#if BROADCAST: enable subgroups;
const COLS: u32 = 2u;
const ROWS: u32 = 2u;
const WG: u32 = 32u;
const BROADCAST: u32 = 0u;
const NT: u32 = 0u;
const F16: u32 = 0u;
const PLUS: u32 = 0u;
override ACC: u32 = 0;
#include matmul_operands
#include matmul_output

@compute @workgroup_size(WG)
fn main(
  #if BROADCAST: @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u
) {
  let row = w.y * (ROWS * WG) + l.x;
  let begin = w.z * p.chunk;
  let end = min(begin + p.chunk, p.K4);
  #if BROADCAST: let own = lane % 4u;
  #for r < ROWS: let i$r = min(row + $ru * WG, p.R - 1u) * p.K4;
  #for r < ROWS
    #for j < COLS: var c$r_$j = vec4f();
  #end
  for (var k = begin; k < end; k++) {
    #for r < ROWS: let v$r = a[i$r + k];
    #for j < COLS
      // Row i of four is b[4k + i, 4j …], or b[4j + i, 4k …] if NT.
      #if BROADCAST
        #if !NT: let mine$j = loadB((4u * k + own) * COLS + $ju);
        #if NT: let mine$j = loadB((4u * $ju + own) * p.K4 + k);
        #for i < 4: let b$j_$i = quadBroadcast(mine$j, $iu);
      #end
      #if !BROADCAST
        #if !NT
          #for i < 4: let b$j_$i = loadB((4u * k + $iu) * COLS + $ju);
        #end
        #if NT
          #for i < 4: let b$j_$i = loadB((4u * $ju + $iu) * p.K4 + k);
        #end
      #end
      #if !NT
        #for r < ROWS: c$r_$j += v$r.x * b$j_0 + v$r.y * b$j_1 + v$r.z * b$j_2 + v$r.w * b$j_3;
      #end
      #if NT
        #for r < ROWS: c$r_$j += vec4f(dot(v$r, b$j_0), dot(v$r, b$j_1), dot(v$r, b$j_2), dot(v$r, b$j_3));
      #end
    #end
  }
  #for r < ROWS
    #for j < COLS: put(w.z, row + $ru * WG, $ju, c$r_$j);
  #end
}
