// forward was: logp[m] = logits[m, target] − log Σ_v exp(logits[m,v])
// dlogits[m,v] = dlogp[m] · ((v = target) − exp(logits[m,v] − top[m] − log Σ)).   norm: (M) of (top, log Σ).
// One thread per (m, COLS of v); V = COLS · THREADS, constants since a division by a variable costs as much as the rest.
const COLS: u32 = 1u;
const THREADS: u32 = 1u;
struct P { M: u32, V: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> norm: array<vec2f>;
@group(0) @binding(4) var<storage, read> dlogp: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * n.x + w.x) * WG + l.x;
  if (t >= p.M * THREADS) { return; }
  let m = t / THREADS;
  let v = (t % THREADS) * COLS;
  let at = m * p.V + v;
  let row = norm[m];
  let grad = dlogp[m];
  let hit = targets[m];
  #for c < COLS
    let e$c = exp(clamp(logits[at + $cu] - row.x - row.y, -80.0, 0.5));
    dlogits[at + $cu] = grad * (select(0.0, 1.0, v + $cu == hit) - e$c);
  #end
}
