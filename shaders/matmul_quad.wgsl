// y[z,r,n] = scale · Σ_(k in chunk z) a[r,k] b[k,n], then as in matmul_output          no shared memory, no barrier
// a: (R,K), or (K,R) if TN  b: (K,N)  y: (Z,R,N), summed by matmul_sum if Z > 1.
// N a multiple of 4 COLS; K of 4 AV, or if TN R of 4 AV and K any number (p.K4 then counts single rows).
//
// For adapters whose loads cost more than their multiply-adds: SwiftShader loads every number of every lane on its own,
// with a test and a branch, some 75 instructions for what four lanes read, and each array index costs four integer
// divisions (the length of the array). So all numbers that lie side by side are one element here, and a quad of lanes owns
// a large block of y: a lane has COLS vec4 of columns, and loads the a of its own rows only. Its neighbours' come by swaps
// in the quad, one instruction each where a broadcast takes several: sum (j, i) of lane q belongs to row j of lane q xor i.
// Sums are built number by number, since products of whole vec4 are stored before they are added. Measured in LOG.md.
enable subgroups;
const LOADS: u32 = 8u; // rows of a that a lane loads: the quad owns 4 LOADS rows (TN: 16 AV)
const AV: u32 = 2u;    // vec4 of a in a load
const COLS: u32 = 2u;
const COUNT: u32 = 64u; // sums of a thread: 4 LOADS COLS, or 16 AV COLS
const EXCHANGE: u32 = 2u;
const TN: u32 = 0u;
const PLUS: u32 = 0u;
const ACC: u32 = 0u;
const LORA: u32 = 0u;
const LORA_B: u32 = 0u;
#include matmul_lora
@group(0) @binding(1) var<storage, read> a: array<array<vec4f, AV>>;
@group(0) @binding(2) var<storage, read> b: array<array<vec4f, COLS>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
#if PLUS: @group(0) @binding(4) var<storage, read> plus: array<vec4f>;
#include matmul_output

@compute @workgroup_size(4) // a quad: no thread beside a narrow y is idle
fn main(
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u
) {
  let width = p.N4 / COLS;
  let n = w.y * 4u + l.x;
  let m = min(n, width - 1u);
  let q = lane % 4u;
  let begin = w.z * p.chunk;
  let end = min(begin + p.chunk, p.K4);
  #if !TN
    let row = w.x * 4u * LOADS;
    let stride = p.K4 / AV;
    #for j < LOADS: let i$j = min(row + 4u * $j + q, p.R - 1u) * stride;
    #for j < LOADS
      #for i < 4
        #for c < COLS: var c$j_$i_$c = vec4f();
      #end
    #end
    for (var k = begin / AV; k < end / AV; k++) {
      let at = k * AV * 4u * width + m;
      #for v < AV
        #for x < 4: let b$v_$x = b[at + (4u * $vu + $xu) * width];
      #end
      #for j < LOADS
        let a$j = a[i$j + k];
        #for v < AV
          let own$j_$v = a$j[$v];
          #for i < 4: let m$j_$v_$i = fromLane(own$j_$v, $iu);
          #for i < 4
            #for c < COLS
              {
                #for e < 4: let s$e = c$j_$i_$c[$e] + b$v_0[$c][$e] * m$j_$v_$i.x + b$v_1[$c][$e] * m$j_$v_$i.y + b$v_2[$c][$e] * m$j_$v_$i.z + b$v_3[$c][$e] * m$j_$v_$i.w;
                c$j_$i_$c = vec4f(s0, s1, s2, s3);
              }
            #end
          #end
        #end
      #end
    }
    #if LORA
      #for j < LOADS: let z$j = min(row + 4u * $j + q, p.R - 1u) * p.lora.x;
      for (var s = 0u; s < p.lora.z; s++) {
        let member = p.members[s];
        if (!concerns(member, w.y * 4u * COLS, 4u * COLS, w.z)) { continue; }
        for (var k = 0u; k < p.lora.y; k++) {
          #for c < COLS: let f$c = loraRows(member, m * COLS + $c, k);
          #for j < LOADS
            let z$j_k = z[z$j + member.w + k];
            #for i < 4: let v$j_$i = fromLane(z$j_k, $iu);
            #for i < 4
              #for c < COLS
                {
                  #for e < 4: let s$e = c$j_$i_$c[$e] + f$c[0][$e] * v$j_$i.x + f$c[1][$e] * v$j_$i.y + f$c[2][$e] * v$j_$i.z + f$c[3][$e] * v$j_$i.w;
                  c$j_$i_$c = vec4f(s0, s1, s2, s3);
                }
              #end
            #end
          #end
        }
      }
    #end
    var sums: array<vec4f, COUNT>;
    #for j < LOADS
      #for i < 4
        #for c < COLS: sums[($j * 4 + $i) * COLS + $c] = c$j_$i_$c;
      #end
    #end
  #end
  #if TN
    let row = w.x * 16u * AV;
    let stride = p.R / (4u * AV);
    let column = min(w.x * 4u + q, stride - 1u);
    #for v < AV
      #for i < 4
        #for x < 4
          #for c < COLS: var c$v_$i_$x_$c = vec4f();
        #end
      #end
    #end
    // Four rows of the batch at a time; those past the end are loaded again and counted as zero.
    for (var k = begin; k < end; k += 4u) {
      #for s < 4
        let at$s = min(k + $su, end - 1u);
        let a$s = a[at$s * stride + column];
        let t$s = b[at$s * width + m];
        #for c < COLS: let b$s_$c = select(vec4f(), t$s[$c], k + $su < end);
      #end
      #for v < AV
        #for s < 4
          let own$v_$s = a$s[$v];
          #for i < 4: let m$v_$s_$i = fromLane(own$v_$s, $iu);
        #end
        #for i < 4
          #for x < 4
            #for c < COLS
              {
                #for e < 4: let s$e = c$v_$i_$x_$c[$e] + b0_$c[$e] * m$v_0_$i[$x] + b1_$c[$e] * m$v_1_$i[$x] + b2_$c[$e] * m$v_2_$i[$x] + b3_$c[$e] * m$v_3_$i[$x];
                c$v_$i_$x_$c = vec4f(s0, s1, s2, s3);
              }
            #end
          #end
        #end
      #end
    }
    var sums: array<vec4f, COUNT>;
    #for v < AV
      #for i < 4
        #for x < 4
          #for c < COLS: sums[(($i * AV + $v) * 4 + $x) * COLS + $c] = c$v_$i_$x_$c;
        #end
      #end
    #end
  #end
  if (n >= width) { return; }
  for (var s = 0u; s < COUNT; s++) {
    let i = s / COLS;
    #if !TN: let r = row + i - i % 4u + ((i % 4u) ^ q);
    #if TN: let r = row + ((i / (4u * AV)) ^ q) * 4u * AV + i % (4u * AV);
    put(w.z, r, n * COLS + s % COLS, sums[s]);
  }
}
