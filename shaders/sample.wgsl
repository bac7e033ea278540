// Draws the next token of each row, or takes the likeliest at temperature 0, and moves the row one position on.
// logits: (N/SHARE,V), SHARE rows draw from the same logits
// setting: (10) = top-k, seed low, seed high as u32; temperature, top-p, min-p as bits of f32; four stop tokens
// slots: (N,4) u32 = (task, sample, r, length): row n writes to r; the token at position `length` is its step 0
// The draw depends on (seed, task, sample, step) only.   next, pos: (N) u32
// done: (R) u32  tokens: (R,TS) u32  logp: (R), grows by log p(token) at temperature 1.
// top-k and top-p are thresholds on the scaled logit found by bisection, so nothing is sorted.  One thread per row.
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
override WG: u32 = 32;

// pcg4d (Jarzynski & Olano 2020): four words in, four well-mixed words out.
fn pcg4d(seed: vec4u) -> vec4u {
  var v = seed * 1664525u + 1013904223u;
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  v = v ^ (v >> vec4u(16u));
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  return v;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) nw: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let n = (w.y * nw.x + w.x) * WG + l.x;
  if (n >= p.N) { return; }
  let slot = slots[n];
  let r = slot.z;
  let t = pos[n] + 1u - slot.w;
  if (t >= p.TS || done[r] != 0u) { return; }
  let base = (n / p.SHARE) * p.V;
  var top = -1e30;
  var best = 0u;
  for (var v = 0u; v < p.V; v++) {
    let x = logits[base + v];
    if (x > top) { top = x; best = v; }
  }
  var total = 0.0;
  for (var v = 0u; v < p.V; v++) { total += exp(max(logits[base + v] - top, -80.0)); }
  var token = best;
  let temperature = bitcast<f32>(setting[3]);
  let topP = bitcast<f32>(setting[4]);
  let minP = bitcast<f32>(setting[5]);
  if (temperature > 0.0) {
    let heat = 1.0 / temperature;
    // The lowest (logit − top)/T that may be drawn: top-k, then top-p, then min-p (relative to the likeliest), as Transformers.
    var lowest = -80.0;
    let k = setting[0];
    if (k > 0u && k < p.V) {
      var lo = -80.0; // at least k logits lie at or above lo (or all do)
      var hi = 0.0;
      for (var s = 0u; s < 40u; s++) {
        let mid = 0.5 * (lo + hi);
        var count = 0u;
        for (var v = 0u; v < p.V; v++) { if ((logits[base + v] - top) * heat >= mid) { count++; } }
        if (count >= k) { lo = mid; } else { hi = mid; }
      }
      lowest = max(lowest, lo);
    }
    if (topP < 1.0) {
      var mass = 0.0;
      for (var v = 0u; v < p.V; v++) { let x = (logits[base + v] - top) * heat; if (x >= lowest) { mass += exp(max(x, -80.0)); } }
      var lo = lowest; // the tokens at or above lo hold at least top-p of the mass
      var hi = 0.0;
      for (var s = 0u; s < 40u; s++) {
        let mid = 0.5 * (lo + hi);
        var held = 0.0;
        for (var v = 0u; v < p.V; v++) { let x = (logits[base + v] - top) * heat; if (x >= mid) { held += exp(max(x, -80.0)); } }
        if (held >= topP * mass) { lo = mid; } else { hi = mid; }
      }
      lowest = lo;
    }
    if (minP > 0.0) { lowest = max(lowest, log(minP)); }
    var mass = 0.0;
    for (var v = 0u; v < p.V; v++) { let x = (logits[base + v] - top) * heat; if (x >= lowest) { mass += exp(max(x, -80.0)); } }
    let bits = pcg4d(vec4u(setting[1] ^ (slot.x * 0x9e3779b9u), setting[2] ^ slot.y, t, slot.x));
    var left = f32(bits.x >> 8u) / 16777216.0 * mass;
    for (var v = 0u; v < p.V; v++) {
      let x = (logits[base + v] - top) * heat;
      if (x >= lowest) {
        left -= exp(max(x, -80.0));
        token = v;
        if (left < 0.0) { break; }
      }
    }
  }
  logp[r] += logits[base + token] - top - log(total);
  tokens[r * p.TS + t] = token;
  next[n] = token;
  pos[n] = pos[n] + 1u;
  for (var i = 6u; i < 10u; i++) { if (token == setting[i]) { done[r] = 1u; } }
}
