// forward was: logp[m] = logits[m, target] − log Σ_v exp(logits[m,v])
// dlogits[m,v] = dlogp[m] · ((v = target) − exp(logits[m,v] − top[m] − log Σ)).   norm: (M) of (top, log Σ).
// A row is COLS · THREADS numbers long, or vec4 (VEC): constants, since a division by a variable costs as much as the rest. One
// thread per row and COLS of them, THREADS apart, so that neighbours read side by side and a row's own numbers are read once for all.
const VEC: u32 = 0u;
const COLS: u32 = 1u;
const THREADS: u32 = 1u;
#if VEC: alias V = vec4f;
#if !VEC: alias V = f32;
struct P { M: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> logits: array<V>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> norm: array<vec2f>;
@group(0) @binding(4) var<storage, read> dlogp: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<V>;
override WG: u32 = 64;

// 1 where element v is number `hit`.
#if VEC: fn one(v: u32, hit: u32) -> V { return select(V(), V(1.0), 4u * v + vec4u(0u, 1u, 2u, 3u) == vec4u(hit)); }
#if !VEC: fn one(v: u32, hit: u32) -> V { return select(0.0, 1.0, v == hit); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * n.x + w.x) * WG + l.x;
  if (t >= p.M * THREADS) { return; }
  let m = t / THREADS;
  let v = t % THREADS;
  let at = m * (COLS * THREADS) + v;
  let row = norm[m];
  let grad = dlogp[m];
  let hit = targets[m];
  #for c < COLS: let x$c = logits[at + $cu * THREADS];
  #for c < COLS: dlogits[at + $cu * THREADS] = grad * (one(v + $cu * THREADS, hit) - exp(clamp(x$c - row.x - row.y, V(-80.0), V(0.5))));
}
