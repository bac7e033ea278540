// o[i] = Σ_j softmax_j(q[i]·k[j] · scale) v[j] over the j that i may see; lse[i] = log Σ_j exp(q[i]·k[j] · scale)
// q: (B,T,H,D), tokens qStride apart  k, v: (B,T,KV,D), tokens kvStride apart, from kStart and vStart on (vec4; so q, k and v
// may lie side by side in one tensor)  o: (B,T,H,D)  info: (B,T) u32, see src/ops/mask.ts  lse: (B,H,T), kept for the backward pass.
// Flash style (Dao 2022): running maximum and sum, no (T,T) matrix. One thread per ROWS of (b, h, i); a workgroup has
// neighbouring queries of the heads that share keys. LANES keys a turn: lane l mod LANES loads one and shares it, so keys
// and values cost 1/LANES of the loads (EXCHANGE, needs subgroups of at least LANES; the result does not depend on their
// size). LANES = 1: every thread loads every key. Turns of which no query sees a key are passed over, turns that all of them
// see whole take no mask. Heads of more than 4·S4 numbers (PARTS): a thread has 4·S4 numbers of o, and reads q again for
// every key.
#if EXCHANGE: enable subgroups;
#if EXCHANGE: diagnostic(off, subgroup_uniformity); // workgroups are whole subgroups here, loops end for all at once
const LANES: u32 = 1u;
const EXCHANGE: u32 = 0u;
const ROWS: u32 = 1u;
const SKIP: u32 = 0u;
const S4: u32 = 4u;
const PARTS: u32 = 0u;
const WINDOW: u32 = 0u;
const BATCHES: u32 = 1u;
#include attention_mask
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> info: array<Info>;
@group(0) @binding(5) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;
override WG: u32 = 32;

@compute @workgroup_size(WG)
fn main(
  #if EXCHANGE: @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u
) {
  #if !EXCHANGE: let lane = 0u;
  let group = p.H / p.KV;
  let g = w.y % p.KV;
  let part = (w.y / p.KV) * S4;
  let first = sequence(w.z).x;
  let T = sequence(w.z).y;
  let begin = w.x * WG * ROWS;
  if (begin >= T * group) { return; }
  #for r < ROWS
    let row$r = begin + $ru * WG + l.x;
    let i$r = min(row$r / group, T - 1u);
    let h$r = g * group + row$r % group;
    let mi$r = info[first + i$r];
    let at$r = (first + i$r) * p.qStride + h$r * p.D4;
    #if !PARTS
      #for d < S4: let q$r_$d = q[at$r + $du] * p.scale;
    #end
    #for d < S4: var o$r_$d = vec4f();
    var top$r = -1e30;
    var total$r = 0.0;
  #end
  // Keys behind a query count for prefix tokens only.
  let last = min((begin + WG * ROWS - 1u) / group, T - 1u);
  let mine = rangeOf(first + begin / group, first + last);
  let end = select(last + 1u, T, (mine.flags & PREFIX) != 0u);
  #if SKIP: for (var j = nearKey(0u, end, first, lane, mine); j < end; j = nearKey(j + LANES, end, first, lane, mine)) {
  #if !SKIP: for (var j = 0u; j < end; j += LANES) {
    let own = min(j + lane % LANES, end - 1u);
    let mj = info[first + own];
    #if !SKIP: if (!keyNear(mj, mine)) { continue; }
    var whole = allSee(own, mj, mine, begin / group) && j + LANES <= end;
    #if EXCHANGE: whole = subgroupAll(whole);
    let kAt = p.kStart + (first + own) * p.kvStride + g * p.D4;
    let vAt = p.vStart + (first + own) * p.kvStride + g * p.D4;
    #for c < LANES
      #for r < ROWS: var s$r_$c = 0.0;
    #end
    #if PARTS
      for (var e = 0u; e < p.D4; e += S4) {
        #for d < S4: let k$d = k[kAt + e + $du];
        #for r < ROWS
          #for d < S4: let q$r_$d = q[at$r + e + $du] * p.scale;
        #end
        #for c < LANES
          #for d < S4
            let k$c_$d = fromLane(k$d, $cu);
            #for r < ROWS: s$r_$c += dot(q$r_$d, k$c_$d);
          #end
        #end
      }
    #end
    #if !PARTS
      #for d < S4: let k$d = k[kAt + $du];
      #for c < LANES
        #for d < S4
          let k$c_$d = fromLane(k$d, $cu);
          #for r < ROWS: s$r_$c += dot(q$r_$d, k$c_$d);
        #end
      #end
    #end
    if (!whole) {
      #for c < LANES
        let mj$c = fromLane(mj, $cu);
        let j$c = j + laneOf($cu);
        #for r < ROWS: if (j$c >= end || !sees(i$r, j$c, mi$r, mj$c)) { s$r_$c = -1e30; }
      #end
    }
    #for r < ROWS
      var next$r = top$r;
      #for c < LANES: next$r = max(next$r, s$r_$c);
      let shrink$r = exp(max(top$r - next$r, -80.0));
      total$r *= shrink$r;
      #for d < S4: o$r_$d *= shrink$r;
      #for c < LANES
        let e$r_$c = select(0.0, exp(max(s$r_$c - next$r, -80.0)), s$r_$c > -1e29);
        total$r += e$r_$c;
      #end
      top$r = next$r;
    #end
    #for d < S4: let v$d = v[vAt + part + $du];
    #for c < LANES
      #for d < S4
        let v$c_$d = fromLane(v$d, $cu);
        #for r < ROWS: o$r_$d += e$r_$c * v$c_$d;
      #end
    #end
  }
  #for r < ROWS
    if (row$r < T * group) {
      let inverse = select(0.0, 1.0 / total$r, total$r > 0.0);
      let to = ((first + i$r) * p.H + h$r) * p.D4 + part;
      #for d < S4: o[to + $du] = o$r_$d * inverse;
      if (part == 0u) { lse[first * p.H + h$r * T + i$r] = select(0.0, top$r + log(total$r), total$r > 0.0); }
    }
  #end
}
