// y[r,n] = scale * Σ_k a[r,k] b[k,n]  (+ y[r,n] if ACC)
// a: (R,K)  b: (K,N)  y: (R,N), K and N multiples of 4, all read as vec4.
// A thread owns 8 rows and one vec4 of columns. Neighbouring threads own neighbouring columns, so b is read in
// sequence; with WY = 1 the rows, and so every load of a, are the same for the whole workgroup (broadcast).
struct P { R: u32, K4: u32, N4: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
override WX: u32 = 16;
override WY: u32 = 1;
override ACC: u32 = 0;

fn put(r: u32, n: u32, v: vec4f) {
  if (r < p.R) {
    let at = r * p.N4 + n;
    if (ACC == 1u) { y[at] = y[at] + p.scale * v; } else { y[at] = p.scale * v; }
  }
}

@compute @workgroup_size(WX, WY)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let n = w.x * WX + l.x;
  let row = (w.y * WY + l.y) * 8u;
  if (n >= p.N4 || row >= p.R) { return; }
  let K4 = p.K4;
  let N4 = p.N4;
  let top = p.R - 1u;
  let i0 = row * K4;
  let i1 = min(row + 1u, top) * K4;
  let i2 = min(row + 2u, top) * K4;
  let i3 = min(row + 3u, top) * K4;
  let i4 = min(row + 4u, top) * K4;
  let i5 = min(row + 5u, top) * K4;
  let i6 = min(row + 6u, top) * K4;
  let i7 = min(row + 7u, top) * K4;
  var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f();
  var c4 = vec4f(); var c5 = vec4f(); var c6 = vec4f(); var c7 = vec4f();
  var at = n;
  for (var k = 0u; k < K4; k++) {
    let b0 = b[at];
    let b1 = b[at + N4];
    let b2 = b[at + 2u * N4];
    let b3 = b[at + 3u * N4];
    at += 4u * N4;
    var v = a[i0 + k]; c0 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = a[i1 + k]; c1 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = a[i2 + k]; c2 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = a[i3 + k]; c3 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = a[i4 + k]; c4 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = a[i5 + k]; c5 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = a[i6 + k]; c6 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
    v = a[i7 + k]; c7 += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
  }
  put(row, n, c0); put(row + 1u, n, c1); put(row + 2u, n, c2); put(row + 3u, n, c3);
  put(row + 4u, n, c4); put(row + 5u, n, c5); put(row + 6u, n, c6); put(row + 7u, n, c7);
}
