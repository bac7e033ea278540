// forward was: y = g σ(g) u
// du = dy g σ(g)        dg = dy u σ(g) (1 + g (1 − σ(g)))      dy: (R,C).  One thread per V of it.
// gate and up as in swiglu_fwd, dgate and dup likewise; halves of one tensor have one gradient, written through dgate (HALVES).
alias V = f32; // or vec4f: all sizes count elements of V. Set when the shader is loaded.
const HALVES: u32 = 0u;
struct P { N: u32, skip: u32, start: u32 } // N = R C
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> gate: array<V>;
@group(0) @binding(2) var<storage, read> up: array<V>;
@group(0) @binding(3) var<storage, read> dy: array<V>;
@group(0) @binding(4) var<storage, read_write> dgate: array<V>;
#if !HALVES: @group(0) @binding(5) var<storage, read_write> dup: array<V>;
override WG: u32 = 256;
override C: u32 = 1; // a constant, since a division by what is none costs more than all the rest

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.N) { return; }
  let at = i + i / C * p.skip;
  let g = gate[at];
  let s = 1.0 / (1.0 + exp(min(-g, V(80.0))));
  let du = dy[i] * g * s;
  dgate[at] = dy[i] * up[at + p.start] * s * (1.0 + g * (1.0 - s));
  #if !HALVES: dup[at + p.start] = du;
  #if HALVES: dgate[at + p.start] = du;
}
