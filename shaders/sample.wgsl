// Draws the next token of each row, or takes the likeliest at temperature 0, and moves the row one position on.
// logits: (N/SHARE,V), SHARE rows draw from the same logits
// setting: (10) = top-k, seed low, seed high as u32; temperature, top-p, min-p as bits of f32; four stop tokens
// slots: (N,4) u32 = (task, sample, r, length): row n writes to r; the token at position `length` is its step 0
// The draw depends on (seed, task, sample, step) only.   next, pos: (N) u32
// done: (R) u32, bit 0: has ended  tokens: (R,TS) u32  logp: (R), grows by log p(token) at temperature 1.
// GRAMMAR: behind the settings stands (states,V) u32 = next state + 1, or 0 where the token is not allowed; the state of
// sample r is done[r] / 2. The log-probability is that without the grammar.
// top-k and top-p are thresholds on the scaled logit, found by cutting an interval into eight 14 times: nothing is sorted.
// One thread per row; WIDE > 0: a workgroup of WIDE threads per row, each with a run of neighbouring tokens.
const WIDE: u32 = 0u;
const GRAMMAR: u32 = 0u;
struct P { N: u32, V: u32, TS: u32, SHARE: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> setting: array<u32>;
@group(0) @binding(3) var<storage, read> slots: array<vec4u>;
@group(0) @binding(4) var<storage, read_write> pos: array<u32>;
@group(0) @binding(5) var<storage, read_write> next: array<u32>;
@group(0) @binding(6) var<storage, read_write> done: array<u32>;
@group(0) @binding(7) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(8) var<storage, read_write> logp: array<f32>;
#if WIDE: override WG: u32 = WIDE;
#if !WIDE: override WG: u32 = 32;
#if WIDE: var<workgroup> parts: array<vec4f, WIDE>;
#if WIDE: var<workgroup> shared_state: vec2u;

// pcg4d (Jarzynski & Olano 2020): four words in, four well-mixed words out.
fn pcg4d(seed: vec4u) -> vec4u {
  var v = seed * 1664525u + 1013904223u;
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  v = v ^ (v >> vec4u(16u));
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  return v;
}

// One row as a thread sees it: its tokens begin … end − 1 of the logits at `base`.
struct Row { base: u32, begin: u32, end: u32, thread: u32, state: u32, peak: f32, heat: f32 }

fn allowed(row: Row, v: u32) -> bool {
  #if GRAMMAR: return setting[10u + row.state * p.V + v] != 0u;
  #if !GRAMMAR: return true;
}

// (logit − largest) / temperature; far below every threshold for a token that is not allowed.
fn scaled(row: Row, v: u32) -> f32 {
  return select(-1e30, (logits[row.base + v] - row.peak) * row.heat, allowed(row, v));
}

// Sum over the threads of a row, in their order.
fn total(row: Row, x: vec4f) -> vec4f {
  #if !WIDE: return x;
  #if WIDE
    parts[row.thread] = x;
    workgroupBarrier();
    var sum = vec4f();
    for (var i = 0u; i < WIDE; i++) { sum += parts[i]; }
    workgroupBarrier();
    return sum;
  #end
}

// What the tokens at or above each threshold weigh: their number, or their probability up to a factor.
fn weigh(row: Row, low: vec4f, high: vec4f, byMass: bool) -> array<vec4f, 2> {
  var a = vec4f();
  var b = vec4f();
  for (var v = row.begin; v < row.end; v++) {
    let x = scaled(row, v);
    let weight = select(1.0, exp(max(x, -80.0)), byMass);
    a += select(vec4f(), vec4f(weight), vec4f(x) >= low);
    b += select(vec4f(), vec4f(weight), vec4f(x) >= high);
  }
  return array<vec4f, 2>(total(row, a), total(row, b));
}

fn mass(row: Row, lowest: f32) -> f32 { return weigh(row, vec4f(lowest), vec4f(1.0), true)[0].x; }

// The largest threshold from `least` on that leaves a weight of at least `wanted` (`least` itself may leave less).
fn threshold(row: Row, least: f32, wanted: f32, byMass: bool) -> f32 {
  var lo = least;
  var hi = 0.0;
  for (var s = 0u; s < 14u; s++) {
    let step = (hi - lo) / 8.0;
    let low = lo + step * vec4f(1.0, 2.0, 3.0, 4.0);
    let high = lo + step * vec4f(5.0, 6.0, 7.0, 8.0);
    let weights = weigh(row, low, high, byMass);
    let enough = select(vec4u(), vec4u(1u), weights[0] >= vec4f(wanted));
    let more = select(vec4u(), vec4u(1u), weights[1].xyzz >= vec4f(wanted));
    let steps = f32(enough.x + enough.y + enough.z + enough.w + more.x + more.y + more.z);
    lo = lo + step * steps;
    hi = lo + step;
  }
  return lo;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) nw: vec3u, @builtin(local_invocation_id) l: vec3u) {
  #if WIDE: let n = w.y * nw.x + w.x;
  #if !WIDE: let n = (w.y * nw.x + w.x) * WG + l.x;
  if (n >= p.N) { return; }
  let slot = slots[n];
  let r = slot.z;
  #if WIDE
    if (l.x == 0u) { shared_state = vec2u(pos[n], done[r]); }
    let now = workgroupUniformLoad(&shared_state);
    let run = (p.V + WIDE - 1u) / WIDE;
    let thread = l.x;
  #end
  #if !WIDE
    let now = vec2u(pos[n], done[r]);
    let run = p.V;
    let thread = 0u;
  #end
  let t = now.x + 1u - slot.w;
  if (t >= p.TS || (now.y & 1u) != 0u) { return; }
  var row = Row((n / p.SHARE) * p.V, min(thread * run, p.V), min((thread + 1u) * run, p.V), thread, now.y >> 1u, -1e30, 1.0);

  // The likeliest token of all, and the likeliest that is allowed, the first of equals.
  var top = -1e30;
  var best = 0xffffffffu;
  for (var v = row.begin; v < row.end; v++) {
    let x = logits[row.base + v];
    top = max(top, x);
    if (x > row.peak && allowed(row, v)) { row.peak = x; best = v; }
  }
  #if WIDE
    parts[thread] = vec4f(top, row.peak, f32(best), 0.0);
    workgroupBarrier();
    row.peak = -1e30;
    for (var i = 0u; i < WIDE; i++) {
      top = max(top, parts[i].x);
      if (parts[i].y > row.peak) { row.peak = parts[i].y; best = u32(parts[i].z); }
    }
    workgroupBarrier();
  #end
  var sum = 0.0;
  for (var v = row.begin; v < row.end; v++) { sum += exp(max(logits[row.base + v] - top, -80.0)); }
  sum = total(row, vec4f(sum)).x;

  var token = best;
  let temperature = bitcast<f32>(setting[3]);
  let topP = bitcast<f32>(setting[4]);
  let minP = bitcast<f32>(setting[5]);
  if (temperature > 0.0) {
    row.heat = 1.0 / temperature;
    // The lowest (logit − largest)/T that may be drawn: top-k, then top-p, then min-p (relative to the likeliest), as Transformers.
    var lowest = -80.0;
    let k = setting[0];
    if (k > 0u && k < p.V) { lowest = threshold(row, lowest, f32(k), false); }
    if (topP < 1.0) { lowest = threshold(row, lowest, topP * mass(row, lowest), true); }
    if (minP > 0.0) { lowest = max(lowest, log(minP)); }
    let bits = pcg4d(vec4u(setting[1] ^ (slot.x * 0x9e3779b9u), setting[2] ^ slot.y, t, slot.x));
    let uniform_draw = f32(bits.x >> 8u) / 16777216.0;
    var own = 0.0;
    var left = 0.0;
    #if !WIDE: left = uniform_draw * mass(row, lowest);
    #if WIDE
      // The thread in whose run the draw falls looks for its token; rounding may leave it to the last run that has any.
      for (var v = row.begin; v < row.end; v++) { let x = scaled(row, v); if (x >= lowest) { own += exp(max(x, -80.0)); } }
      parts[thread] = vec4f(own);
      workgroupBarrier();
      for (var i = 0u; i < WIDE; i++) { left += parts[i].x; }
      left *= uniform_draw;
      var chosen = 0u;
      var before = 0.0;
      for (var i = 0u; i < WIDE; i++) {
        if (parts[i].x > 0.0) { chosen = i; left -= before; before = parts[i].x; }
        if (left < before) { break; }
      }
      if (thread != chosen) { return; }
    #end
    for (var v = row.begin; v < row.end; v++) {
      let x = scaled(row, v);
      if (x >= lowest) {
        left -= exp(max(x, -80.0));
        token = v;
        if (left < 0.0) { break; }
      }
    }
  }
  #if WIDE: else if (thread != 0u) { return; }
  logp[r] += logits[row.base + token] - top - log(sum);
  tokens[r * p.TS + t] = token;
  next[n] = token;
  pos[n] = now.x + 1u;
  var after = 0u;
  #if GRAMMAR: after = (setting[10u + row.state * p.V + token] - 1u) << 1u;
  for (var i = 6u; i < 10u; i++) { if (token == setting[i]) { after |= 1u; } }
  done[r] = after;
}
