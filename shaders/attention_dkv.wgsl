// forward was: o[i] = Σ_j P[i,j] v[j],  P[i,j] = exp(q[i]·k[j] · scale − lse[i])
// dv[j] = Σ_i P[i,j] dO[i]        dk[j] = scale Σ_i P[i,j] (dO[i]·v[j] − delta[i]) q[i]
// The sums run over the query heads of j's group as well (grouped-query), so no atomics.
// Shapes as in attention_dq, of whose dqkv dk and dv are written here; constants as in attention_fwd, keys and queries in
// each other's place: one thread per ROWS of (b, kv head, j), lane l mod LANES loads a query, its gradient and its (lse, delta) and
// broadcasts them.
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
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> info: array<Info>;
@group(0) @binding(3) var<storage, read> stats: array<vec2f>;
@group(0) @binding(4) var<storage, read> dout: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> dqkv: array<vec4f>;
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
  if (begin >= T) { return; }
  let heads = p.H + 2u * p.KV;
  #for r < ROWS
    let j$r = min(begin + $ru * WG + l.x, T - 1u);
    let mj$r = info[first + j$r];
    let kAt$r = ((first + j$r) * heads + p.H + g) * p.D4;
    let vAt$r = kAt$r + p.KV * p.D4;
    #if !PARTS
      #for d < S4: let k$r_$d = qkv[kAt$r + $du] * p.scale;
      #for d < S4: let v$r_$d = qkv[vAt$r + $du];
    #end
    #for d < S4: var sumK$r_$d = vec4f();
    #for d < S4: var sumV$r_$d = vec4f();
  #end
  // Queries before a key count for prefix tokens only.
  let last = min(begin + WG * ROWS, T) - 1u;
  let mine = rangeOf(first + begin, first + last);
  let rows = T * group;
  let since = select(begin, 0u, (mine.flags & PREFIX) != 0u) * group;
  #if SKIP: for (var row = nearRow(since, rows, group, first, lane, mine); row < rows; row = nearRow(row + LANES, rows, group, first, lane, mine)) {
  #if !SKIP: for (var row = since; row < rows; row += LANES) {
    let own = min(row + lane % LANES, rows - 1u);
    let i = own / group;
    let mi = info[first + i];
    #if !SKIP
      if (!queryNear(mi, mine)) {
        if (ofAnswers(mine)) { break; }
        continue;
      }
    #end
    var whole = seesAll(i, mi, mine, last) && row + LANES <= rows;
    #if EXCHANGE: whole = subgroupAll(whole);
    let head = g * group + own % group;
    let at = ((first + i) * heads + head) * p.D4;
    let to = ((first + i) * p.H + head) * p.D4;
    let stat = stats[first * p.H + head * T + i];
    #for c < LANES
      #for r < ROWS: var s$r_$c = 0.0;
      #for r < ROWS: var t$r_$c = 0.0;
    #end
    #if PARTS
      for (var e = 0u; e < p.D4; e += S4) {
        #for r < ROWS
          #for d < S4: let k$r_$d = qkv[kAt$r + e + $du] * p.scale;
          #for d < S4: let v$r_$d = qkv[vAt$r + e + $du];
        #end
        #for d < S4: let q$d = qkv[at + e + $du];
        #for d < S4: let g$d = dout[to + e + $du];
        #for c < LANES
          #for d < S4
            let q$c_$d = fromLane(q$d, $cu);
            let g$c_$d = fromLane(g$d, $cu);
            #for r < ROWS: s$r_$c += dot(k$r_$d, q$c_$d);
            #for r < ROWS: t$r_$c += dot(v$r_$d, g$c_$d);
          #end
        #end
      }
      #for d < S4: let q$d = qkv[at + part + $du];
      #for d < S4: let g$d = dout[to + part + $du];
      #for c < LANES
        #for d < S4: let q$c_$d = fromLane(q$d, $cu);
        #for d < S4: let g$c_$d = fromLane(g$d, $cu);
      #end
    #end
    #if !PARTS
      #for d < S4: let q$d = qkv[at + $du];
      #for d < S4: let g$d = dout[to + $du];
      #for c < LANES
        #for d < S4
          let q$c_$d = fromLane(q$d, $cu);
          let g$c_$d = fromLane(g$d, $cu);
          #for r < ROWS: s$r_$c += dot(k$r_$d, q$c_$d);
          #for r < ROWS: t$r_$c += dot(v$r_$d, g$c_$d);
        #end
      #end
    #end
    if (!whole) {
      #for c < LANES
        let mi$c = fromLane(mi, $cu);
        let row$c = row + laneOf($cu);
        #for r < ROWS: if (row$c >= rows || !sees(row$c / group, j$r, mi$c, mj$r)) { s$r_$c = -1e30; }
      #end
    }
    #for c < LANES
      let stat$c = fromLane(stat, $cu);
      #for r < ROWS
        let p$r_$c = select(0.0, exp(clamp(s$r_$c - stat$c.x, -80.0, 0.5)), s$r_$c > -1e29);
        let ds$r_$c = p$r_$c * (t$r_$c - stat$c.y);
        #for d < S4: sumK$r_$d += ds$r_$c * q$c_$d;
        #for d < S4: sumV$r_$d += p$r_$c * g$c_$d;
      #end
    #end
  }
  #for r < ROWS
    if (begin + $ru * WG + l.x < T) {
      #for d < S4: dqkv[kAt$r + part + $du] = sumK$r_$d * p.scale;
      #for d < S4: dqkv[vAt$r + part + $du] = sumV$r_$d;
    }
  #end
}
