// o[i] = Σ_j softmax_j(q[i]·k[j] · scale) v[j] over the j that i may see; lse[i] = log Σ_j exp(q[i]·k[j] · scale)
// q: (B,T,H,D), tokens qStride apart  k, v: (B,T,KV,D), tokens kvStride apart, from kStart and vStart on (vec4; so q, k and v
// may lie side by side in one tensor)  o: (B,T,H,D)  info: (B,T) u32, see src/ops/mask.ts  lse: (B,H,T), kept for the backward pass.
// Flash style (Dao 2022): running maximum and sum, no (T,T) matrix. One thread per (b, h, i); a workgroup has neighbouring
// queries of the heads that share keys. LANES keys a turn: lane l mod LANES loads one and shares it, so keys and
// values cost 1/LANES of the loads (EXCHANGE, needs subgroups of at least LANES; the result does not depend on their
// size). LANES = 1: every thread loads every key. Heads of more than 4·S4 numbers (PARTS > 1): a thread has 4·S4 numbers
// of o, and reads q again for every key.
#if EXCHANGE: enable subgroups;
#if EXCHANGE: diagnostic(off, subgroup_uniformity); // workgroups are whole subgroups here, loops end for all at once
const LANES: u32 = 1u;
const EXCHANGE: u32 = 0u;
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
  let begin = w.x * WG;
  if (begin >= T * group) { return; }
  let row = begin + l.x;
  let i = min(row / group, T - 1u);
  let h = g * group + row % group;
  let mi = info[first + i];
  let at = (first + i) * p.qStride + h * p.D4;
  #if !PARTS
    #for d < S4: let q$d = q[at + $du] * p.scale;
  #end
  #for d < S4: var o$d = vec4f();
  // Keys behind a query count for prefix tokens only.
  let last = min((begin + WG - 1u) / group, T - 1u);
  let mine = rangeOf(first + begin / group, first + last);
  let end = select(last + 1u, T, (mine.flags & PREFIX) != 0u);
  var top = -1e30;
  var total = 0.0;
  for (var j = 0u; j < end; j += LANES) {
    let own = min(j + lane % LANES, T - 1u);
    let mj = info[first + own];
    var near = (word(mj) & PAD) == 0u && inside(document(mj), mine.documents);
    near = near && (segment(mj) == 0u || inside(segment(mj), mine.segments));
    #if WINDOW: near = near && ((word(mj) & PREFIX) != 0u || mj.y + p.window > mine.positions.x);
    #if EXCHANGE: near = subgroupAny(near);
    if (!near) { continue; }
    let kAt = p.kStart + (first + own) * p.kvStride + g * p.D4;
    let vAt = p.vStart + (first + own) * p.kvStride + g * p.D4;
    #for c < LANES: var t$c = 0.0;
    #if PARTS
      for (var e = 0u; e < p.D4; e += S4) {
        #for d < S4: let q$d = q[at + e + $du] * p.scale;
        #for d < S4: let k$d = k[kAt + e + $du];
        #for c < LANES
          #for d < S4
            t$c += dot(q$d, fromLane(k$d, $cu));
          #end
        #end
      }
    #end
    #if !PARTS
      #for d < S4: let k$d = k[kAt + $du];
      #for c < LANES
        #for d < S4
          t$c += dot(q$d, fromLane(k$d, $cu));
        #end
      #end
    #end
    var next = top;
    #for c < LANES
      let s$c = select(-1e30, t$c, j + laneOf($cu) < end && sees(i, j + laneOf($cu), mi, fromLane(mj, $cu)));
      next = max(next, s$c);
    #end
    let shrink = exp(max(top - next, -80.0));
    total *= shrink;
    #for d < S4: o$d *= shrink;
    #for c < LANES
      let e$c = select(0.0, exp(max(s$c - next, -80.0)), s$c > -1e29);
      total += e$c;
    #end
    #for d < S4: let v$d = v[vAt + part + $du];
    #for c < LANES
      #for d < S4
        o$d += e$c * fromLane(v$d, $cu);
      #end
    #end
    top = next;
  }
  if (row >= T * group) { return; }
  let inverse = select(0.0, 1.0 / total, total > 0.0);
  let to = ((first + i) * p.H + h) * p.D4 + part;
  #for d < S4: o[to + $du] = o$d * inverse;
  if (part == 0u) { lse[first * p.H + h * T + i] = select(0.0, top + log(total), total > 0.0); }
}
