// y[c,r] = x[r,c]      x: (R,C)  y: (C,R).  One thread per element of y.
// F16: both hold f16, two neighbours of a row in a word; R and C are even.  One thread per word of y.
const F16: u32 = 0u;
struct P { R: u32, C: u32 }
@group(0) @binding(0) var<uniform> p: P;
#if !F16
  @group(0) @binding(1) var<storage, read> x: array<f32>;
  @group(0) @binding(2) var<storage, read_write> y: array<f32>;
#end
#if F16
  @group(0) @binding(1) var<storage, read> x: array<u32>;
  @group(0) @binding(2) var<storage, read_write> y: array<u32>;
  fn half(i: u32) -> u32 { return (x[i / 2u] >> (16u * (i % 2u))) & 0xffffu; }
#end
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  #if !F16
    if (i >= p.R * p.C) { return; }
    y[i] = x[(i % p.R) * p.C + i / p.R];
  #end
  #if F16
    if (i >= p.R * p.C / 2u) { return; }
    let at = (2u * i % p.R) * p.C + 2u * i / p.R;
    y[i] = half(at) | (half(at + p.C) << 16u);
  #end
}
