// logp[m] = logits[m, target[m]] − top[m] − log Σ_v exp(logits[m,v] − top[m]),  top[m] = max_v logits[m,v]
// logits: (M,V)  target: (M) u32  logp: (M)  norm: (M) of (top, log Σ), kept apart so that large logits lose no digits.
// One thread per row, which passes over it once, COLS numbers a turn, or vec4 (VEC), and shrinks its sum where the maximum
// grows; V is a multiple of as many.
const VEC: u32 = 0u;
const COLS: u32 = 1u;
#if VEC: alias V = vec4f;
#if !VEC: alias V = f32;
struct P { M: u32, V: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> logits: array<V>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> logp: array<f32>;
@group(0) @binding(4) var<storage, read_write> norm: array<vec2f>;
override WG: u32 = 32;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let m = (w.y * n.x + w.x) * WG + l.x;
  if (m >= p.M) { return; }
  #if VEC: let width = p.V / 4u;
  #if !VEC: let width = p.V;
  let base = m * width;
  var top = -1e30;
  var total = 0.0;
  for (var v = 0u; v < width; v += COLS) {
    #for c < COLS: let x$c = logits[base + v + $cu];
    var next = top;
    #if VEC
      #for c < COLS: next = max(next, max(max(x$c.x, x$c.y), max(x$c.z, x$c.w)));
    #end
    #if !VEC
      #for c < COLS: next = max(next, x$c);
    #end
    total *= exp(max(top - next, -80.0));
    #for c < COLS
      let e$c = exp(max(x$c - next, V(-80.0)));
      #if !VEC: total += e$c;
      #if VEC
        #for i < 4: total += e$c[$i];
      #end
    #end
    top = next;
  }
  norm[m] = vec2f(top, log(total));
  let hit = targets[m];
  #if VEC: let aim = logits[base + hit / 4u][hit % 4u];
  #if !VEC: let aim = logits[base + hit];
  logp[m] = aim - top - log(total);
}
