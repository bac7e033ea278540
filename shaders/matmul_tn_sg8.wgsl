// y[z,m,n] = scale * Σ_(r in chunk z) a[r,m] b[r,n]  (+ y if ACC)                    subgroup variant, two rows a step
// a: (R,M)  b: (R,N)  y: (Z,M,N): the weight gradient dW = dYᵀ X, split over Z chunks of rows (split-K) and summed
// by reduce_sum. M and N multiples of 4. A thread owns 16 rows of y and one vec4 of columns.
// Lanes own neighbouring columns; lane l loads vec4 (l mod 4) of the 16 values of a that all lanes need, for row r + (l mod 8) / 4,
// and broadcasts it. Needs subgroups of at least 8; the result does not depend on their size.
enable subgroups;
struct P { R: u32, M4: u32, N4: u32, chunk: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
override WX: u32 = 16;
override ACC: u32 = 0;

fn put(z: u32, m: u32, n: u32, v: vec4f) {
  if (m < p.M4 * 4u && n < p.N4) {
    let at = (z * p.M4 * 4u + m) * p.N4 + n;
    if (ACC == 1u) { y[at] = y[at] + p.scale * v; } else { y[at] = p.scale * v; }
  }
}

@compute @workgroup_size(WX)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let M4 = p.M4;
  let N4 = p.N4;
  let n = w.x * WX + l.x;
  let nn = min(n, N4 - 1u);
  let m4 = w.y * 4u;
  let last = M4 - 1u;
  let begin = w.z * p.chunk;
  let end = min(begin + p.chunk, p.R);
  var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f();
  var c4 = vec4f(); var c5 = vec4f(); var c6 = vec4f(); var c7 = vec4f();
  var c8 = vec4f(); var c9 = vec4f(); var c10 = vec4f(); var c11 = vec4f();
  var c12 = vec4f(); var c13 = vec4f(); var c14 = vec4f(); var c15 = vec4f();
  let col = min(m4 + lane % 4u, last);
  let second = (lane % 8u) / 4u;
  for (var r = begin; r < end; r += 2u) {
    // An odd tail row is loaded twice and counted once.
    let own = a[min(r + second, end - 1u) * M4 + col];
    let x = b[r * N4 + nn];
    let xn = select(vec4f(), b[min(r + 1u, end - 1u) * N4 + nn], r + 1u < end);
    var v: vec4f;
    v = subgroupBroadcast(own, 0u);
    c0 += v.x * x; c1 += v.y * x; c2 += v.z * x; c3 += v.w * x;
    v = subgroupBroadcast(own, 1u);
    c4 += v.x * x; c5 += v.y * x; c6 += v.z * x; c7 += v.w * x;
    v = subgroupBroadcast(own, 2u);
    c8 += v.x * x; c9 += v.y * x; c10 += v.z * x; c11 += v.w * x;
    v = subgroupBroadcast(own, 3u);
    c12 += v.x * x; c13 += v.y * x; c14 += v.z * x; c15 += v.w * x;
    v = subgroupBroadcast(own, 4u);
    c0 += v.x * xn; c1 += v.y * xn; c2 += v.z * xn; c3 += v.w * xn;
    v = subgroupBroadcast(own, 5u);
    c4 += v.x * xn; c5 += v.y * xn; c6 += v.z * xn; c7 += v.w * xn;
    v = subgroupBroadcast(own, 6u);
    c8 += v.x * xn; c9 += v.y * xn; c10 += v.z * xn; c11 += v.w * xn;
    v = subgroupBroadcast(own, 7u);
    c12 += v.x * xn; c13 += v.y * xn; c14 += v.z * xn; c15 += v.w * xn;
  }
  put(w.z, m4 * 4u + 0u, n, c0); put(w.z, m4 * 4u + 1u, n, c1); put(w.z, m4 * 4u + 2u, n, c2); put(w.z, m4 * 4u + 3u, n, c3);
  put(w.z, m4 * 4u + 4u, n, c4); put(w.z, m4 * 4u + 5u, n, c5); put(w.z, m4 * 4u + 6u, n, c6); put(w.z, m4 * 4u + 7u, n, c7);
  put(w.z, m4 * 4u + 8u, n, c8); put(w.z, m4 * 4u + 9u, n, c9); put(w.z, m4 * 4u + 10u, n, c10); put(w.z, m4 * 4u + 11u, n, c11);
  put(w.z, m4 * 4u + 12u, n, c12); put(w.z, m4 * 4u + 13u, n, c13); put(w.z, m4 * 4u + 14u, n, c14); put(w.z, m4 * 4u + 15u, n, c15);
}
