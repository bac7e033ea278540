// forward was: o[i] = Σ_j P[i,j] v[j],  P[i,j] = exp(q[i]·k[j] · scale − lse[i])
// delta[i] = dO[i]·o[i]        dS[i,j] = P[i,j] (dO[i]·v[j] − delta[i])        dq[i] = scale Σ_j dS[i,j] k[j]
// Threads and constants as in attention_fwd; q, k and v lie side by side in one tensor: qkv, dqkv: (B,T,H+2·KV,D), of
// which dq is written here.  o, dO: (B,T,H,D)  lse: (B,H,T)  stats: (B,H,T) of (lse, delta), for attention_dkv.
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
  let begin = w.x * WG;
  if (begin >= T * group) { return; }
  let row = begin + l.x;
  let i = min(row / group, T - 1u);
  let h = g * group + row % group;
  let mi = info[first + i];
  let heads = p.H + 2u * p.KV;
  let at = ((first + i) * heads + h) * p.D4;
  let to = ((first + i) * p.H + h) * p.D4;
  let place = first * p.H + h * T + i;
  var dots = vec4f();
  #if !PARTS
    #for d < S4: let q$d = qkv[at + $du] * p.scale;
    #for d < S4: let g$d = dout[to + $du];
    #for d < S4: dots += g$d * o[to + $du];
  #end
  #if PARTS: for (var d = 0u; d < p.D4; d++) { dots += dout[to + d] * o[to + d]; }
  let stat = vec2f(lse[place], across(dots));
  #for d < S4: var sum$d = vec4f();
  // Keys behind a query count for prefix tokens only.
  let last = min((begin + WG - 1u) / group, T - 1u);
  let mine = rangeOf(first + begin / group, first + last);
  let end = select(last + 1u, T, (mine.flags & PREFIX) != 0u);
  for (var j = 0u; j < end; j += LANES) {
    let own = min(j + lane % LANES, T - 1u);
    let mj = info[first + own];
    var near = (word(mj) & PAD) == 0u && inside(document(mj), mine.documents);
    near = near && (segment(mj) == 0u || inside(segment(mj), mine.segments));
    #if WINDOW: near = near && ((word(mj) & PREFIX) != 0u || mj.y + p.window > mine.positions.x);
    #if EXCHANGE: near = subgroupAny(near);
    if (!near) { continue; }
    let kAt = ((first + own) * heads + p.H + g) * p.D4;
    let vAt = kAt + p.KV * p.D4;
    #for c < LANES
      var s$c = 0.0;
      var r$c = 0.0;
    #end
    #if PARTS
      for (var e = 0u; e < p.D4; e += S4) {
        #for d < S4: let q$d = qkv[at + e + $du] * p.scale;
        #for d < S4: let g$d = dout[to + e + $du];
        #for d < S4: let k$d = qkv[kAt + e + $du];
        #for d < S4: let v$d = qkv[vAt + e + $du];
        #for c < LANES
          #for d < S4
            s$c += dot(q$d, fromLane(k$d, $cu)); r$c += dot(g$d, fromLane(v$d, $cu));
          #end
        #end
      }
      #for d < S4: let k$d = qkv[kAt + part + $du];
    #end
    #if !PARTS
      #for d < S4: let k$d = qkv[kAt + $du];
      #for d < S4: let v$d = qkv[vAt + $du];
      #for c < LANES
        #for d < S4
          s$c += dot(q$d, fromLane(k$d, $cu)); r$c += dot(g$d, fromLane(v$d, $cu));
        #end
      #end
    #end
    #for c < LANES
      let seen$c = j + laneOf($cu) < end && sees(i, j + laneOf($cu), mi, fromLane(mj, $cu));
      let ds$c = select(0.0, exp(clamp(s$c - stat.x, -80.0, 0.5)) * (r$c - stat.y), seen$c);
      #for d < S4
        sum$d += ds$c * fromLane(k$d, $cu);
      #end
    #end
  }
  if (row >= T * group) { return; }
  #for d < S4: dqkv[at + part + $du] = sum$d * p.scale;
  if (part == 0u) { stats[place] = stat; }
}
