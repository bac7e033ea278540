// y[z,r,n] = scale · Σ_(k in chunk z) a[r,k] b[k,n], then as in matmul_output          no shared memory, no barrier
// a: (R,K)  b: (K,N), or (N,K) if NT  y: (Z,R,N), summed by matmul_sum if Z > 1; K and N multiples of 4.
// A thread owns LOADS · LANES rows and one vec4 of columns; neighbours own neighbouring columns, so b is read in sequence.
// LANES = 1: every thread loads a, the same rows in the whole workgroup. LANES = 4 or 8 (EXCHANGE): lane l loads a
// vec4 of row l mod LANES and broadcasts it, so a costs 1/LANES of the loads. That needs subgroups of at least LANES;
// the result does not depend on their size.
#if EXCHANGE: enable subgroups;
const LANES: u32 = 1u;
const LOADS: u32 = 8u;
const EXCHANGE: u32 = 0u;
const NT: u32 = 0u;
const F16: u32 = 0u;
const HALF_A: u32 = 0u;
const PLUS: u32 = 0u;
const ACC: u32 = 0u;
const LORA: u32 = 0u;
const LORA_B: u32 = 0u; // see matmul_lora
override WX: u32 = 16;
override WY: u32 = 1;
#include matmul_lora
#include matmul_operands
#include matmul_output

@compute @workgroup_size(WX, WY)
fn main(
  #if EXCHANGE: @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u
) {
  #if !EXCHANGE: let lane = 0u;
  let n = w.y * WX + l.x;
  let m = min(n, p.N4 - 1u);
  let row = (w.x * WY + l.y) * (LOADS * LANES);
  let own = row + lane % LANES;
  let top = p.R - 1u;
  #for j < LOADS: let i$j = min(own + $ju * LANES, top) * p.K4;
  #for j < LOADS
    #for i < LANES: var c$j_$i = vec4f();
  #end
  let begin = w.z * p.chunk;
  let end = min(begin + p.chunk, p.K4);
  #if !NT: var at = begin * 4u * p.N4 + m;
  #if NT: var at = m * 4u * p.K4 + begin;
  for (var k = begin; k < end; k++) {
    #if !NT
      let b0 = loadB(at);
      let b1 = loadB(at + p.N4);
      let b2 = loadB(at + 2u * p.N4);
      let b3 = loadB(at + 3u * p.N4);
      at += 4u * p.N4;
    #end
    #if NT
      let t0 = loadB(at);
      let t1 = loadB(at + p.K4);
      let t2 = loadB(at + 2u * p.K4);
      let t3 = loadB(at + 3u * p.K4);
      let b0 = vec4f(t0.x, t1.x, t2.x, t3.x);
      let b1 = vec4f(t0.y, t1.y, t2.y, t3.y);
      let b2 = vec4f(t0.z, t1.z, t2.z, t3.z);
      let b3 = vec4f(t0.w, t1.w, t2.w, t3.w);
      at++;
    #end
    #for j < LOADS: let a$j = loadA(i$j + k);
    var v: vec4f;
    #for j < LOADS
      #for i < LANES
        v = fromLane(a$j, $iu);
        c$j_$i += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
      #end
    #end
  }
  #if LORA
    #for j < LOADS: let z$j = min(own + $ju * LANES, top) * p.lora.x;
    for (var s = 0u; s < p.lora.z; s++) {
      let member = p.members[s];
      if (!concerns(member, w.y * WX, WX, w.z)) { continue; }
      for (var k = 0u; k < p.lora.y; k++) {
        let f = loraRows(member, m, k);
        #for j < LOADS: let a$j = z[z$j + member.w + k];
        var v: vec4f;
        #for j < LOADS
          #for i < LANES
            v = fromLane(a$j, $iu);
            c$j_$i += v.x * f[0] + v.y * f[1] + v.z * f[2] + v.w * f[3];
          #end
        #end
      }
    }
  #end
  #for j < LOADS
    #for i < LANES: put(w.z, row + $ju * LANES + $iu, n, c$j_$i);
  #end
}
