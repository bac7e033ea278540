// forward was: o[i] = Σ_j P[i,j] v[j],  P[i,j] = exp(q[i]·k[j] · scale − lse[i])
// dv[j] = Σ_i P[i,j] dO[i]        dk[j] = scale Σ_i P[i,j] (dO[i]·v[j] − delta[i]) q[i]
// The sums run over the query heads of j's group as well (grouped-query), so no atomics.
// Shapes as in attention_dq, of whose dqkv dk and dv are written here; constants as in attention_fwd, keys and queries in
// each other's place: one thread per (b, kv head, j), lane l mod LANES loads a query, its gradient and its (lse, delta) and
// broadcasts them.
#if EXCHANGE: enable subgroups;
#if EXCHANGE: diagnostic(off, subgroup_uniformity); // workgroups are whole subgroups here, loops end for all at once
const LANES: u32 = 1u;
const EXCHANGE: u32 = 0u;
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
  let begin = w.x * WG;
  if (begin >= T) { return; }
  let j = min(begin + l.x, T - 1u);
  let mj = info[first + j];
  let heads = p.H + 2u * p.KV;
  let kAt = ((first + j) * heads + p.H + g) * p.D4;
  let vAt = kAt + p.KV * p.D4;
  #if !PARTS
    #for d < S4: let k$d = qkv[kAt + $du] * p.scale;
    #for d < S4: let v$d = qkv[vAt + $du];
  #end
  #for d < S4: var sumK$d = vec4f();
  #for d < S4: var sumV$d = vec4f();
  // Queries before a key count for prefix tokens only.
  let mine = rangeOf(first + begin, first + min(begin + WG, T) - 1u);
  let rows = T * group;
  for (var row = select(begin, 0u, (mine.flags & PREFIX) != 0u) * group; row < rows; row += LANES) {
    let own = min(row + lane % LANES, rows - 1u);
    let mi = info[first + own / group];
    var near = inside(document(mi), mine.documents) && (mine.segments.x == 0u || inside(segment(mi), mine.segments));
    #if WINDOW: near = near && ((word(mi) & PREFIX) != 0u || mi.y < mine.positions.y + p.window);
    #if EXCHANGE: near = subgroupAny(near);
    if (!near) { continue; }
    let head = g * group + own % group;
    let at = ((first + own / group) * heads + head) * p.D4;
    let to = ((first + own / group) * p.H + head) * p.D4;
    let stat = stats[first * p.H + head * T + own / group];
    #for c < LANES
      var s$c = 0.0;
      var r$c = 0.0;
    #end
    #if PARTS
      for (var e = 0u; e < p.D4; e += S4) {
        #for d < S4: let k$d = qkv[kAt + e + $du] * p.scale;
        #for d < S4: let v$d = qkv[vAt + e + $du];
        #for d < S4: let q$d = qkv[at + e + $du];
        #for d < S4: let g$d = dout[to + e + $du];
        #for c < LANES
          #for d < S4
            s$c += dot(k$d, fromLane(q$d, $cu)); r$c += dot(v$d, fromLane(g$d, $cu));
          #end
        #end
      }
      #for d < S4: let q$d = qkv[at + part + $du];
      #for d < S4: let g$d = dout[to + part + $du];
    #end
    #if !PARTS
      #for d < S4: let q$d = qkv[at + $du];
      #for d < S4: let g$d = dout[to + $du];
      #for c < LANES
        #for d < S4
          s$c += dot(k$d, fromLane(q$d, $cu)); r$c += dot(v$d, fromLane(g$d, $cu));
        #end
      #end
    #end
    #for c < LANES
      let stat$c = fromLane(stat, $cu);
      let seen$c = row + laneOf($cu) < rows && sees((row + laneOf($cu)) / group, j, fromLane(mi, $cu), mj);
      let e$c = select(0.0, exp(clamp(s$c - stat$c.x, -80.0, 0.5)), seen$c);
      let ds$c = e$c * (r$c - stat$c.y);
      #for d < S4
        sumK$d += ds$c * fromLane(q$d, $cu); sumV$d += e$c * fromLane(g$d, $cu);
      #end
    #end
  }
  if (begin + l.x >= T) { return; }
  #for d < S4: dqkv[kAt + part + $du] = sumK$d * p.scale;
  #for d < S4: dqkv[vAt + part + $du] = sumV$d;
}
