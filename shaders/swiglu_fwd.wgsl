// y[r,i] = silu(gate[r,i]) · up[r,i],  silu(g) = g / (1 + exp(−g)).   y: (R,C).  One thread per V.
// gate and up: (R,C) each (skip 0, start 0), or the halves of one (R, 2 C) tensor that is bound twice (skip C, start C).
// exp(−g) is kept finite: WGSL promises no infinity.
alias V = f32; // or vec4f: all sizes count elements of V. Set when the shader is loaded.
struct P { N: u32, skip: u32, start: u32 } // N = R C
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> gate: array<V>;
@group(0) @binding(2) var<storage, read> up: array<V>;
@group(0) @binding(3) var<storage, read_write> y: array<V>;
override WG: u32 = 256;
override C: u32 = 1; // a constant, since a division by what is none costs more than all the rest

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let i = (w.y * n.x + w.x) * WG + l.x;
  if (i >= p.N) { return; }
  let at = i + i / C * p.skip;
  let g = gate[at];
  y[i] = g / (1.0 + exp(min(-g, V(80.0)))) * up[at + p.start];
}
