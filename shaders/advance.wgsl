// step[0] += 1, pos[n] += 1: the end of a decoded token, so that several fit in one submit.   pos: (N) u32.
struct P { N: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> step: array<u32>;
@group(0) @binding(2) var<storage, read_write> pos: array<u32>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i == 0u) { step[0] = step[0] + 1u; }
  if (i < p.N) { pos[i] = pos[i] + 1u; }
}
