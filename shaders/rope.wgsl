// Rotary embedding as in Hugging Face's rotate_half, in place: for i < D/2, with c = table[pos[r], 0, i], s = table[pos[r], 1, i]
//   x[i] ← x[i] c − x[i+D/2] s · SIGN        x[i+D/2] ← x[i+D/2] c + x[i] s · SIGN
// SIGN = +1 forward, −1 backward (the inverse rotation).  x: (R, C), its first H·D columns  pos: (R) u32  table: (maxPos, 2, D/2).
// One thread per (r, h) and V of i.
alias V = f32; // or vec4f: HALF and C count elements of V. Set when the shader is loaded.
struct P { R: u32, C: u32, sign: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> pos: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<V>;
@group(0) @binding(3) var<storage, read_write> x: array<V>;
override WG: u32 = 256;
override H: u32 = 1; // constants, since a division by what is none costs more than all the rest
override HALF: u32 = 1;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * n.x + w.x) * WG + l.x;
  if (t >= p.R * H * HALF) { return; }
  let i = t % HALF;
  let head = t / HALF;
  let r = head / H;
  let turn = pos[r] * HALF * 2u + i;
  let c = table[turn];
  let s = table[turn + HALF] * p.sign;
  let at = r * p.C + (head % H) * HALF * 2u + i;
  let lo = x[at];
  let hi = x[at + HALF];
  x[at] = lo * c - hi * s;
  x[at + HALF] = hi * c + lo * s;
}
