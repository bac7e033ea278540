// y[r,n] = scale * Σ_k a[r,k] b[k,n]  (+ y[r,n] if ACC)          subgroup variant, 16 rows × 4 columns a thread
// a: (R,K)  b: (K,N)  y: (R,N), K and N multiples of 4, all read as vec4.
// Lanes own neighbouring vec4 columns of b. All lanes of a workgroup share their rows: lane l loads one vec4 of a
// from row l mod 8 and broadcasts it, so a costs 1/8 of the loads. No shared memory, no barrier.
// Needs subgroups of at least 8; the result does not depend on their size.
enable subgroups;
struct P { R: u32, K4: u32, N4: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
override WX: u32 = 16;
override ACC: u32 = 0;

fn put(r: u32, n: u32, v: vec4f) {
  if (r < p.R && n < p.N4) {
    let at = r * p.N4 + n;
    if (ACC == 1u) { y[at] = y[at] + p.scale * v; } else { y[at] = p.scale * v; }
  }
}

@compute @workgroup_size(WX)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let K4 = p.K4;
  let N4 = p.N4;
  let n = w.x * WX + l.x;
  let row = w.y * 16u;
  let top = p.R - 1u;
  let own = row + (lane % 8u);
  let i0 = min(own + 0u, top) * K4;
  let i1 = min(own + 8u, top) * K4;
  var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f();
  var c4 = vec4f(); var c5 = vec4f(); var c6 = vec4f(); var c7 = vec4f();
  var c8 = vec4f(); var c9 = vec4f(); var c10 = vec4f(); var c11 = vec4f();
  var c12 = vec4f(); var c13 = vec4f(); var c14 = vec4f(); var c15 = vec4f();
  var at = min(n, N4 - 1u);
  for (var k = 0u; k < K4; k++) {
    let b0 = b[at];
    let b1 = b[at + N4];
    let b2 = b[at + 2u * N4];
    let b3 = b[at + 3u * N4];
    at += 4u * N4;
    let a0 = a[i0 + k];
    let a1 = a[i1 + k];
    var v: vec4f;
    v = subgroupBroadcast(a0, 0u); c0 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a0, 1u); c1 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a0, 2u); c2 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a0, 3u); c3 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a0, 4u); c4 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a0, 5u); c5 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a0, 6u); c6 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a0, 7u); c7 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a1, 0u); c8 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a1, 1u); c9 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a1, 2u); c10 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a1, 3u); c11 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a1, 4u); c12 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a1, 5u); c13 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a1, 6u); c14 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = subgroupBroadcast(a1, 7u); c15 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
  }
  put(row + 0u, n, c0); put(row + 1u, n, c1); put(row + 2u, n, c2); put(row + 3u, n, c3);
  put(row + 4u, n, c4); put(row + 5u, n, c5); put(row + 6u, n, c6); put(row + 7u, n, c7);
  put(row + 8u, n, c8); put(row + 9u, n, c9); put(row + 10u, n, c10); put(row + 11u, n, c11);
  put(row + 12u, n, c12); put(row + 13u, n, c13); put(row + 14u, n, c14); put(row + 15u, n, c15);
}
