// One chunk of the vocabulary on its way to log Σ_v exp(logits[v,m]): state[z,m] = (top, Σ exp(logit − top), logit of the target, 0)
// over the tokens v that thread (z,m) has seen: those with v mod Z = z, chunk after chunk.
// logits: (n,M), tokens first … first + n − 1, transposed so that neighbouring threads read neighbouring numbers.
// target: (M) u32  state: (Z,M,4), begun anew if FIRST.  One thread per (z, m).
struct P { M: u32, n: u32, first: u32, Z: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> state: array<vec4f>;
override WG: u32 = 64;
override FIRST: u32 = 0;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.Z * p.M) { return; }
  let z = i / p.M;
  let m = i % p.M;
  var own = vec4f(-1e30, 0.0, 0.0, 0.0);
  if (FIRST == 0u) { own = state[i]; }
  var top = own.x;
  for (var v = z; v < p.n; v += p.Z) { top = max(top, logits[v * p.M + m]); }
  var total = own.y * exp(max(own.x - top, -80.0));
  for (var v = z; v < p.n; v += p.Z) { total += exp(max(logits[v * p.M + m] - top, -80.0)); }
  let t = targets[m] - p.first; // wraps around below the chunk
  var hit = own.z;
  if (t < p.n && t % p.Z == z) { hit = logits[t * p.M + m]; }
  state[i] = vec4f(top, total, hit, 0.0);
}
