// y[z,r,n] = scale · Σ_(k in chunk z) a[r,k] b[k,n], then as in matmul_output                       shared memory
// a: (R,K)  b: (K,N), or (N,K) if NT  y: (Z,R,N), summed by matmul_sum if Z > 1; K and N multiples of 4.
// A workgroup of TX · TY threads owns a tile of TY · ROWS rows and TX · COLS vec4 of columns, a thread ROWS × COLS vec4
// of it. The workgroup copies KT vec4 of k of both operands into shared memory, waits, multiplies, waits. Two barriers a
// copy: the textbook kernel of GPUs, slow where a barrier costs microseconds.
const TX: u32 = 16u;
const TY: u32 = 8u;
const ROWS: u32 = 8u;
const COLS: u32 = 1u;
const KT: u32 = 4u;
const NT: u32 = 0u;
const F16: u32 = 0u;
const HALF_A: u32 = 0u;
const PLUS: u32 = 0u;
const ACC: u32 = 0u;
const LORA: u32 = 0u;
const LORA_B: u32 = 0u;
#include matmul_lora
#include matmul_operands
#include matmul_output

const THREADS = TX * TY;
const HEIGHT = TY * ROWS;
const WIDTH = TX * COLS;
var<workgroup> tileA: array<vec4f, HEIGHT * KT>;     // (row, vec4 of k)
var<workgroup> tileB: array<vec4f, 4u * KT * WIDTH>; // (k, vec4 of columns)

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  let tx = l % TX;
  let ty = l / TX;
  let row = w.x * HEIGHT;
  let column = w.y * WIDTH;
  let begin = w.z * p.chunk;
  let end = min(begin + p.chunk, p.K4);
  #for i < ROWS
    #for j < COLS: var c$i_$j = vec4f();
  #end
  for (var k = begin; k < end; k += KT) {
    // Past the end of k both tiles hold zeros; past the last row or column they repeat it, and nobody stores the product.
    for (var t = l; t < HEIGHT * KT; t += THREADS) {
      let at = k + t % KT;
      tileA[t] = select(vec4f(), loadA(min(row + t / KT, p.R - 1u) * p.K4 + min(at, end - 1u)), at < end);
    }
    #if !NT
      for (var t = l; t < 4u * KT * WIDTH; t += THREADS) {
        let at = 4u * k + t / WIDTH;
        let n = min(column + t % WIDTH, p.N4 - 1u);
        tileB[t] = select(vec4f(), loadB(min(at, 4u * end - 1u) * p.N4 + n), at < 4u * end);
      }
    #end
    #if NT
      for (var t = l; t < KT * WIDTH; t += THREADS) {
        let at = k + t % KT;
        let n = t / KT;
        let first = min(column + n, p.N4 - 1u) * 4u * p.K4 + min(at, end - 1u);
        #for q < 4: let t$q = select(vec4f(), loadB(first + $qu * p.K4), at < end);
        let place = t % KT * 4u * WIDTH + n;
        tileB[place] = vec4f(t0.x, t1.x, t2.x, t3.x);
        tileB[place + WIDTH] = vec4f(t0.y, t1.y, t2.y, t3.y);
        tileB[place + 2u * WIDTH] = vec4f(t0.z, t1.z, t2.z, t3.z);
        tileB[place + 3u * WIDTH] = vec4f(t0.w, t1.w, t2.w, t3.w);
      }
    #end
    workgroupBarrier();
    for (var t = 0u; t < KT; t++) {
      #for j < COLS
        #for q < 4: let b$j_$q = tileB[(4u * t + $qu) * WIDTH + $ju * TX + tx];
      #end
      var v: vec4f;
      #for i < ROWS
        v = tileA[(ty * ROWS + $iu) * KT + t];
        #for j < COLS: c$i_$j += v.x * b$j_0 + v.y * b$j_1 + v.z * b$j_2 + v.w * b$j_3;
      #end
    }
    workgroupBarrier();
  }
  #if LORA
    #for i < ROWS: let z$i = min(row + ty * ROWS + $iu, p.R - 1u) * p.lora.x;
    for (var s = 0u; s < p.lora.z; s++) {
      let member = p.members[s];
      if (!concerns(member, column, WIDTH, w.z)) { continue; }
      for (var k = 0u; k < p.lora.y; k++) {
        #for j < COLS: let f$j = loraRows(member, min(column + $ju * TX + tx, p.N4 - 1u), k);
        var v: vec4f;
        #for i < ROWS
          v = z[z$i + member.w + k];
          #for j < COLS: c$i_$j += v.x * f$j[0] + v.y * f$j[1] + v.z * f$j[2] + v.w * f$j[3];
        #end
      }
    }
  #end
  #for i < ROWS
    #for j < COLS: put(w.z, row + ty * ROWS + $iu, column + $ju * TX + tx, c$i_$j);
  #end
}
