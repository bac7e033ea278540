// Which token sees which (src/ops/mask.ts). info: one word a token, or (word, position) if WINDOW: then a token sees back
// p.window positions only, prefix tokens all of their prefix.
// Sequences may be of several lengths: batch g holds B of T tokens, batches[g] = (its first sequence, its first row, T, 0).
struct P { H: u32, KV: u32, D4: u32, window: u32, qStride: u32, kvStride: u32, kStart: u32, vStart: u32, scale: f32, x: u32, y: u32, z: u32, batches: array<vec4u, BATCHES> }
@group(0) @binding(0) var<uniform> p: P;

// First row and length of sequence z.
fn sequence(z: u32) -> vec2u {
  var batch = p.batches[0];
  for (var g = 1u; g < BATCHES; g++) {
    if (z >= p.batches[g].x) { batch = p.batches[g]; }
  }
  return vec2u(batch.y + (z - batch.x) * batch.z, batch.z);
}

const PAD = 0x80000000u;
const PREFIX = 0x20000000u;
const DOCUMENT = 0x1fff0000u;
#if !WINDOW: alias Info = u32;
#if WINDOW: alias Info = vec2u;
#if !WINDOW: fn word(m: Info) -> u32 { return m; }
#if WINDOW: fn word(m: Info) -> u32 { return m.x; }

fn segment(m: Info) -> u32 { return word(m) & 0xffffu; }
fn document(m: Info) -> u32 { return word(m) & DOCUMENT; }

fn sees(i: u32, j: u32, mi: Info, mj: Info) -> bool {
  var order = j <= i;
  #if WINDOW: order = order && mi.y - mj.y < p.window;
  return (word(mj) & PAD) == 0u && document(mi) == document(mj) && (order || (word(mi) & word(mj) & PREFIX) != 0u)
    && (segment(mj) == 0u || segment(mj) == segment(mi));
}

fn across(x: vec4f) -> f32 { return x.x + x.y + x.z + x.w; }

// What some neighbouring tokens are, so that a workgroup can pass over those that none of its own has to do with.
struct Range { flags: u32, segments: vec2u, documents: vec2u, positions: vec2u }

fn rangeOf(first: u32, last: u32) -> Range {
  var r = Range(0u, vec2u(0xffffffffu, 0u), vec2u(0xffffffffu, 0u), vec2u(0xffffffffu, 0u));
  for (var t = first; t <= last; t++) {
    let m = info[t];
    r.flags |= word(m);
    r.segments = vec2u(min(r.segments.x, segment(m)), max(r.segments.y, segment(m)));
    r.documents = vec2u(min(r.documents.x, document(m)), max(r.documents.y, document(m)));
    #if WINDOW: r.positions = vec2u(min(r.positions.x, m.y), max(r.positions.y, m.y));
  }
  return r;
}

fn inside(x: u32, range: vec2u) -> bool { return x >= range.x && x <= range.y; }
