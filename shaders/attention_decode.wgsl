// One new token per row n against its prompt's keys, shared by K samples, and its own: o = softmax(q·k · scale) v
// q, o: (N,H,D)  pos: (N) u32, position of the row's token in its sequence
// k, v: (G·TP + R·TS, KV,D): TP places for each prompt, then TS places for each sample
// slots: (N,4) u32 = (task, sample, r, length): row n is sample r, its prompt is r / K and has `length` tokens; its own
// tokens are those at positions length…pos[n], in the sample's places 0, 1, …
// One thread per (n, h, part z), or a workgroup of TEAM of them: positions z·part … z·part + part − 1, thread i of a team takes
// every TEAM-th from i on. SPLIT = 0: there is one part, which takes all. SPLIT = 1: o is (Z, N,H,D + 4),
// Σ e^(s − top) v and behind it (top, Σ e^(s − top), 0, 0), merged by attention_merge; parts behind the last position are
// not written.
const SPLIT: u32 = 0u;
const TEAM: u32 = 0u;
const D4: u32 = 4u; // head size / 4, set when the shader is loaded
struct P { N: u32, K: u32, H: u32, KV: u32, G: u32, TP: u32, TS: u32, scale: f32, Z: u32, part: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> slots: array<vec4u>;
@group(0) @binding(5) var<storage, read> pos: array<u32>;
@group(0) @binding(6) var<storage, read_write> o: array<vec4f>;
override WG: u32 = 32;
const MEMBERS = max(TEAM, 1u);
#if TEAM: const CHUNK = 8u; // vec4 of the sums that a team adds up at once
#if TEAM: var<workgroup> states: array<vec2f, TEAM>;
#if TEAM: var<workgroup> sums: array<vec4f, TEAM * CHUNK>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) nw: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = ((w.y * nw.x + w.x) * WG + l.x) / MEMBERS;
  let own = l.x % MEMBERS;
  let n = t % p.N;
  let h = t / p.N % p.H;
  let z = min(t / (p.N * p.H), p.Z - 1u);
  let slot = slots[n];
  let begin = z * p.part;
  let end = min(min(pos[n] + 1u, slot.w + p.TS), begin + p.part);
  let writes = t < p.N * p.H * p.Z && begin < end;
  #if !TEAM: if (!writes) { return; }
  let g = h / (p.H / p.KV);
  let at = (n * p.H + h) * D4;
  #if !SPLIT: let to = at;
  #if SPLIT: let to = ((z * p.N + n) * p.H + h) * (D4 + 1u);
  var query: array<vec4f, D4>;
  var sum: array<vec4f, D4>;
  for (var d = 0u; d < D4; d++) { query[d] = q[at + d] * p.scale; sum[d] = vec4f(); }
  let shared_place = (slot.z / p.K) * p.TP;
  let own_place = p.G * p.TP + slot.z * p.TS;
  var top = -1e30;
  var total = 0.0;
  for (var j = begin + own; j < end; j += MEMBERS) {
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
  #if !TEAM
    #if !SPLIT
      for (var d = 0u; d < D4; d++) { o[to + d] = sum[d] / total; }
    #end
    #if SPLIT
      for (var d = 0u; d < D4; d++) { o[to + d] = sum[d]; }
    #end
  #end
  #if TEAM
    // What each thread has is scaled to the team's maximum, then added up in the order of the threads.
    states[own] = vec2f(top, total);
    workgroupBarrier();
    let before = top;
    for (var i = 0u; i < TEAM; i++) { top = max(top, states[i].x); }
    total = 0.0;
    for (var i = 0u; i < TEAM; i++) { total += states[i].y * exp(max(states[i].x - top, -80.0)); }
    let scale = exp(max(before - top, -80.0));
    for (var first = 0u; first < D4; first += CHUNK) {
      let width = min(CHUNK, D4 - first);
      workgroupBarrier();
      for (var d = 0u; d < width; d++) { sums[own * CHUNK + d] = sum[first + d] * scale; }
      workgroupBarrier();
      if (own < width && writes) {
        var whole = vec4f();
        for (var i = 0u; i < TEAM; i++) { whole += sums[i * CHUNK + own]; }
        #if !SPLIT: o[to + first + own] = whole / total;
        #if SPLIT: o[to + first + own] = whole;
      }
    }
  #end
  #if SPLIT: if (own == 0u && writes) { o[to + D4] = vec4f(top, total, 0.0, 0.0); }
}
