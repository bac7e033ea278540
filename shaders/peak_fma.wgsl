// y[t] = Σ_i c_i  after  c_i ← c_i · m + d  16 · turns times: CHAINS independent chains of multiply-adds on vec4, unrolled.
// y: (threads) vec4.  128 · CHAINS · turns flops a thread. How fast an adapter multiplies and adds when nothing else is
// in the way: the number of chains that hides the latency without spilling registers differs, so both 2 and 8 are tried.
struct P { m: f32, d: f32, turns: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
const CHAINS: u32 = 8u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) g: vec3u) {
  let m = vec4f(p.m);
  let d = vec4f(p.d);
  #for i < CHAINS: var c$i = vec4f(f32(g.x + $iu));
  for (var turn = 0u; turn < p.turns; turn++) {
    #for s < 16
      #for i < CHAINS: c$i = fma(c$i, m, d);
    #end
  }
  var sum = vec4f();
  #for i < CHAINS: sum += c$i;
  y[g.x] = sum;
}
