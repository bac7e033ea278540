// dtable[v,c] = Σ_(r: id[r] = v) dx[r,c]  (+ dtable if ACC)
// forward was: x[r] = table[id[r]]. The host sorts the rows by id: rows start[v] … start[v+1]−1 of `order` have id v,
// so there is no atomic and the order of summation is fixed.  One thread per element of dtable: (V,C).
struct P { V: u32, C: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> start: array<u32>;
@group(0) @binding(3) var<storage, read> dx: array<f32>;
@group(0) @binding(4) var<storage, read_write> dtable: array<f32>;
override WG: u32 = 64;
override ACC: u32 = 0;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.V * p.C) { return; }
  let v = i / p.C;
  let c = i % p.C;
  var sum = 0.0;
  for (var j = start[v]; j < start[v + 1u]; j++) { sum += dx[order[j] * p.C + c]; }
  if (ACC == 1u) { dtable[i] = dtable[i] + sum; } else { dtable[i] = sum; }
}
