// o = Σ_z e^(top_z − top) sum_z / Σ_z e^(top_z − top) total_z, top = max top_z: the parts of attention_decode in order.
// parts: (Z, N,H,D + 4), of a part sum (D), top, total, 0, 0; row n has those of its positions 0…pos[n]
// slots: (N,4) u32, pos: (N) u32: as in attention_decode  o: (N,H,D)
// A row whose tokens lie in one part gets the bits of SPLIT = 0.  One thread per vec4 of o.
struct P { N: u32, H: u32, D4: u32, TS: u32, part: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read> slots: array<vec4u>;
@group(0) @binding(3) var<storage, read> pos: array<u32>;
@group(0) @binding(4) var<storage, read_write> o: array<vec4f>;
override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) nw: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let t = (w.y * nw.x + w.x) * WG + l.x;
  if (t >= p.N * p.H * p.D4) { return; }
  let head = t / p.D4;
  let n = head / p.H;
  let used = (min(pos[n] + 1u, slots[n].w + p.TS) + p.part - 1u) / p.part;
  let next = p.N * p.H * (p.D4 + 1u);
  let begin = head * (p.D4 + 1u);
  var top = -1e30;
  for (var z = 0u; z < used; z++) { top = max(top, parts[begin + z * next + p.D4].x); }
  var total = 0.0;
  var sum = vec4f();
  for (var z = 0u; z < used; z++) {
    let state = parts[begin + z * next + p.D4];
    let e = select(exp(max(state.x - top, -80.0)), 1.0, state.x == top); // WGSL does not promise that exp(0) is 1
    total += e * state.y;
    sum += e * parts[begin + z * next + t % p.D4];
  }
  o[t] = sum / total;
}
