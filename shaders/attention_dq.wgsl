// forward was: o[i] = Σ_j P[i,j] v[j],  P[i,j] = exp(q[i]·k[j] · scale − lse[i])
// delta[i] = dO[i]·o[i]        dS[i,j] = P[i,j] (dO[i]·v[j] − delta[i])        dq[i] = scale Σ_j dS[i,j] k[j]
// Threads and constants as in attention_fwd; q, k and v lie side by side in one tensor: qkv, dqkv: (B,T,H+2·KV,D), of
// which dq is written here.  o, dO: (B,T,H,D)  lse: (B,H,T)  stats: (B,H,T) of (lse, delta), for attention_dkv.
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
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> o: array<vec4f>;
@group(0) @binding(5) var<storage, read> dout: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> stats: array<vec2f>;
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
  let heads = p.H + 2u * p.KV;
  #for r < ROWS
    let row$r = begin + $ru * WG + l.x;
    let i$r = min(row$r / group, T - 1u);
    let h$r = g * group + row$r % group;
    let mi$r = info[first + i$r];
    let at$r = ((first + i$r) * heads + h$r) * p.D4;
    let to$r = ((first + i$r) * p.H + h$r) * p.D4;
    let place$r = first * p.H + h$r * T + i$r;
    var dots$r = vec4f();
    #if !PARTS
      #for d < S4: let q$r_$d = qkv[at$r + $du] * p.scale;
      #for d < S4: let g$r_$d = dout[to$r + $du];
      #for d < S4: dots$r += g$r_$d * o[to$r + $du];
    #end
    #if PARTS: for (var d = 0u; d < p.D4; d++) { dots$r += dout[to$r + d] * o[to$r + d]; }
    let stat$r = vec2f(lse[place$r], across(dots$r));
    #for d < S4: var sum$r_$d = vec4f();
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
    let kAt = ((first + own) * heads + p.H + g) * p.D4;
    let vAt = kAt + p.KV * p.D4;
    #for c < LANES
      #for r < ROWS: var s$r_$c = 0.0;
      #for r < ROWS: var t$r_$c = 0.0;
    #end
    #if PARTS
      for (var e = 0u; e < p.D4; e += S4) {
        #for r < ROWS
          #for d < S4: let q$r_$d = qkv[at$r + e + $du] * p.scale;
          #for d < S4: let g$r_$d = dout[to$r + e + $du];
        #end
        #for d < S4: let k$d = qkv[kAt + e + $du];
        #for d < S4: let v$d = qkv[vAt + e + $du];
        #for c < LANES
          #for d < S4
            let k$c_$d = fromLane(k$d, $cu);
            let v$c_$d = fromLane(v$d, $cu);
            #for r < ROWS: s$r_$c += dot(q$r_$d, k$c_$d);
            #for r < ROWS: t$r_$c += dot(g$r_$d, v$c_$d);
          #end
        #end
      }
      #for d < S4: let k$d = qkv[kAt + part + $du];
      #for c < LANES
        #for d < S4: let k$c_$d = fromLane(k$d, $cu);
      #end
    #end
    #if !PARTS
      #for d < S4: let k$d = qkv[kAt + $du];
      #for d < S4: let v$d = qkv[vAt + $du];
      #for c < LANES
        #for d < S4
          let k$c_$d = fromLane(k$d, $cu);
          let v$c_$d = fromLane(v$d, $cu);
          #for r < ROWS: s$r_$c += dot(q$r_$d, k$c_$d);
          #for r < ROWS: t$r_$c += dot(g$r_$d, v$c_$d);
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
    #for c < LANES
      #for r < ROWS
        let p$r_$c = select(0.0, exp(clamp(s$r_$c - stat$r.x, -80.0, 0.5)), s$r_$c > -1e29);
        let ds$r_$c = p$r_$c * (t$r_$c - stat$r.y);
        #for d < S4: sum$r_$d += ds$r_$c * k$c_$d;
      #end
    #end
  }
  #for r < ROWS
    if (row$r < T * group) {
      #for d < S4: dqkv[at$r + part + $du] = sum$r_$d * p.scale;
      if (part == 0u) { stats[place$r] = stat$r; }
    }
  #end
}
