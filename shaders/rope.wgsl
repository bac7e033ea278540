// Rotary embedding as in Hugging Face's rotate_half: for i < D/2, with (c, s) = table[pos[r], i]
//   y[i] = x[i] c − x[i+D/2] s · SIGN        y[i+D/2] = x[i+D/2] c + x[i] s · SIGN
// SIGN = +1 forward, −1 backward (the inverse rotation).  x, y: (R, H·D)  pos: (R) u32  table: (maxPos, D/2) of (cos, sin).
// One thread per (r, h, i).
struct P { R: u32, H: u32, half: u32, sign: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> pos: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * n.x + w.x) * WG + l.x;
  if (t >= p.R * p.H * p.half) { return; }
  let i = t % p.half;
  let head = t / p.half;
  let cs = table[pos[head / p.H] * p.half + i];
  let at = head * p.half * 2u + i;
  let lo = x[at];
  let hi = x[at + p.half];
  y[at] = lo * cs.x - hi * cs.y * p.sign;
  y[at + p.half] = hi * cs.x + lo * cs.y * p.sign;
}
