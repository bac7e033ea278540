// y[z,r,n] = scale · Σ_(k in chunk z) a[r,k] b[k,n], then as in matmul_output                        few rows (decoding)
// a: (R,K)  b: (K,N), or (N,K) if NT  y: (Z,R,N), summed by matmul_sum if Z > 1; K and N multiples of 4.
// A workgroup owns ROWS rows and WX vec4 of columns. Its SLICES threads of one column each take every SLICES-th vec4 of
// k, so that few rows and columns still keep many threads busy; the first one adds up, in fixed order. One barrier.
const ROWS: u32 = 1u;
const WX: u32 = 16u;
const SLICES: u32 = 8u;
const NT: u32 = 0u;
const F16: u32 = 0u;
const HALF_A: u32 = 0u;
const PLUS: u32 = 0u;
const ACC: u32 = 0u;
#include matmul_sizes
#include matmul_operands
#include matmul_output

var<workgroup> part: array<vec4f, ROWS * SLICES * WX>;

@compute @workgroup_size(WX, SLICES)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let n = w.y * WX + l.x;
  let m = min(n, p.N4 - 1u);
  let row = w.x * ROWS;
  let begin = w.z * p.chunk;
  let end = min(begin + p.chunk, p.K4);
  #for i < ROWS: let i$i = min(row + $iu, p.R - 1u) * p.K4;
  #for i < ROWS: var c$i = vec4f();
  for (var k = begin + l.y; k < end; k += SLICES) {
    #if !NT
      #for q < 4: let b$q = loadB((4u * k + $qu) * p.N4 + m);
    #end
    #if NT
      #for q < 4: let t$q = loadB((4u * m + $qu) * p.K4 + k);
      let b0 = vec4f(t0.x, t1.x, t2.x, t3.x);
      let b1 = vec4f(t0.y, t1.y, t2.y, t3.y);
      let b2 = vec4f(t0.z, t1.z, t2.z, t3.z);
      let b3 = vec4f(t0.w, t1.w, t2.w, t3.w);
    #end
    var v: vec4f;
    #for i < ROWS
      v = loadA(i$i + k);
      c$i += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    #end
  }
  #for i < ROWS: part[($iu * SLICES + l.y) * WX + l.x] = c$i;
  workgroupBarrier();
  if (l.y == 0u) {
    #for i < ROWS
      var sum$i = vec4f();
      for (var s = 0u; s < SLICES; s++) { sum$i += part[($iu * SLICES + s) * WX + l.x]; }
      put(w.z, row + $iu, n, sum$i);
    #end
  }
}
