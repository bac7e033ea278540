// One new token per row n against its prompt's keys, shared by K samples, and its own: o = softmax(q·k · scale) v
// q, o: (N,H,D)  pos: (N) u32, position of the row's token in its sequence
// k, v: (G·TP + R·TS, KV,D): TP places for each prompt, then TS places for each sample
// slots: (N,4) u32 = (task, sample, r, length): row n is sample r, its prompt is r / K and has `length` tokens; its own
// tokens are those at positions length…pos[n], in the sample's places 0, 1, …
// One thread per (n, h, part z), or a workgroup of TEAM of them: positions z·part … z·part + part − 1. SPLIT = 0: there is one
// part, which takes all. SPLIT = 1: o is (Z, N,H,D + 4), Σ e^(s − top) v and behind it (top, Σ e^(s − top), 0, 0), merged by
// attention_merge; parts behind the last position are not written.
// A team takes TEAM positions a turn: a thread has the product with one key, then COLUMNS vec4 of the sum of all their values.
const SPLIT: u32 = 0u;
const D4: u32 = 4u; // head size / 4, set when the shader is loaded
const TEAM: u32 = 0u;
const COLUMNS: u32 = 1u; // D4 / TEAM, rounded up
struct P { N: u32, K: u32, H: u32, KV: u32, G: u32, TP: u32, TS: u32, scale: f32, Z: u32, part: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> slots: array<vec4u>;
@group(0) @binding(5) var<storage, read> pos: array<u32>;
@group(0) @binding(6) var<storage, read_write> o: array<vec4f>;
override WG: u32 = 32;
#if TEAM: var<workgroup> query: array<vec4f, D4>;
#if TEAM: var<workgroup> scores: array<f32, TEAM>;
#if TEAM: var<workgroup> places: array<u32, TEAM>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) nw: vec3u, @builtin(local_invocation_id) l: vec3u) {
  #if !TEAM: let t = (w.y * nw.x + w.x) * WG + l.x;
  #if TEAM: let t = w.y * nw.x + w.x;
  if (t >= p.N * p.H * p.Z) { return; }
  let n = t % p.N;
  let h = t / p.N % p.H;
  let z = t / (p.N * p.H);
  let slot = slots[n];
  let begin = z * p.part;
  let end = min(min(pos[n] + 1u, slot.w + p.TS), begin + p.part);
  #if SPLIT: if (begin >= end) { return; }
  let g = h / (p.H / p.KV);
  let at = (n * p.H + h) * D4;
  #if !SPLIT: let to = at;
  #if SPLIT: let to = ((z * p.N + n) * p.H + h) * (D4 + 1u);
  let shared_place = (slot.z / p.K) * p.TP;
  let own_place = p.G * p.TP + slot.z * p.TS;
  var top = -1e30;
  var total = 0.0;
  #if !TEAM
    var query: array<vec4f, D4>;
    var sum: array<vec4f, D4>;
    for (var d = 0u; d < D4; d++) { query[d] = q[at + d] * p.scale; sum[d] = vec4f(); }
    for (var j = begin; j < end; j++) {
      let place = select(own_place + j - slot.w, shared_place + j, j < slot.w);
      let kv = (place * p.KV + g) * D4;
      var s4 = vec4f();
      for (var d = 0u; d < D4; d++) { s4 += query[d] * k[kv + d]; }
      let s = s4.x + s4.y + s4.z + s4.w;
      let next = max(top, s);
      let shrink = exp(max(top - next, -80.0));
      let e = exp(max(s - next, -80.0));
      total = total * shrink + e;
      for (var d = 0u; d < D4; d++) { sum[d] = sum[d] * shrink + e * v[kv + d]; }
      top = next;
    }
    #if !SPLIT
      for (var d = 0u; d < D4; d++) { o[to + d] = sum[d] / total; }
    #end
    #if SPLIT
      for (var d = 0u; d < D4; d++) { o[to + d] = sum[d]; }
      o[to + D4] = vec4f(top, total, 0.0, 0.0);
    #end
  #end
  #if TEAM
    for (var d = l.x; d < D4; d += TEAM) { query[d] = q[at + d] * p.scale; }
    #for c < COLUMNS: var sum$c = vec4f();
    #for c < COLUMNS: let column$c = min(l.x + $cu * TEAM, D4 - 1u);
    for (var first = begin; first < end; first += TEAM) {
      let j = first + l.x;
      workgroupBarrier();
      places[l.x] = (select(own_place + j - slot.w, shared_place + j, j < slot.w) * p.KV + g) * D4;
      var s = -1e30;
      if (j < end) {
        var s4 = vec4f();
        for (var d = 0u; d < D4; d++) { s4 += query[d] * k[places[l.x] + d]; }
        s = s4.x + s4.y + s4.z + s4.w;
      }
      scores[l.x] = s;
      workgroupBarrier();
      let count = min(end - first, TEAM);
      var next = top;
      for (var i = 0u; i < count; i++) { next = max(next, scores[i]); }
      let shrink = exp(max(top - next, -80.0));
      total *= shrink;
      #for c < COLUMNS: sum$c *= shrink;
      for (var i = 0u; i < count; i++) {
        let e = exp(max(scores[i] - next, -80.0));
        total += e;
        #for c < COLUMNS: sum$c += e * v[places[i] + column$c];
      }
      top = next;
    }
    #for c < COLUMNS
      if (l.x + $cu * TEAM < D4) {
        #if !SPLIT: o[to + l.x + $cu * TEAM] = sum$c / total;
        #if SPLIT: o[to + l.x + $cu * TEAM] = sum$c;
      }
    #end
    #if SPLIT: if (l.x == 0u) { o[to + D4] = vec4f(top, total, 0.0, 0.0); }
  #end
}
