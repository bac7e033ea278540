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
  return ((word(mi) | word(mj)) & PAD) == 0u && document(mi) == document(mj) && (order || (word(mi) & word(mj) & PREFIX) != 0u)
    && (segment(mj) == 0u || segment(mj) == segment(mi));
}

fn across(x: vec4f) -> f32 { return x.x + x.y + x.z + x.w; }

// What some neighbouring tokens are, those of padding aside, so that a workgroup can pass over what none of its own has to do with.
struct Range { flags: u32, every: u32, segments: vec2u, documents: vec2u, positions: vec2u }

fn rangeOf(first: u32, last: u32) -> Range {
  var r = Range(0u, 0xffffffffu, vec2u(0xffffffffu, 0u), vec2u(0xffffffffu, 0u), vec2u(0xffffffffu, 0u));
  for (var t = first; t <= last; t++) {
    let m = info[t];
    r.flags |= word(m);
    if ((word(m) & PAD) != 0u) { continue; }
    r.every &= word(m);
    r.segments = vec2u(min(r.segments.x, segment(m)), max(r.segments.y, segment(m)));
    r.documents = vec2u(min(r.documents.x, document(m)), max(r.documents.y, document(m)));
    #if WINDOW: r.positions = vec2u(min(r.positions.x, m.y), max(r.positions.y, m.y));
  }
  return r;
}

fn inside(x: u32, range: vec2u) -> bool { return x >= range.x && x <= range.y; }
fn alone(x: u32, range: vec2u) -> bool { return x == range.x && x == range.y; }

// Key j is seen by all of the neighbouring queries, the first of which is at `first`.
fn allSee(j: u32, mj: Info, queries: Range, first: u32) -> bool {
  var order = j <= first;
  #if WINDOW: order = order && queries.positions.y < mj.y + p.window;
  return ((queries.flags | word(mj)) & PAD) == 0u && alone(document(mj), queries.documents)
    && (order || (word(mj) & queries.every & PREFIX) != 0u)
    && (segment(mj) == 0u || alone(segment(mj), queries.segments));
}

// Query i sees all of the neighbouring keys, the last of which is at `last`.
fn seesAll(i: u32, mi: Info, keys: Range, last: u32) -> bool {
  var order = last <= i;
  #if WINDOW: order = order && mi.y < keys.positions.x + p.window;
  return ((keys.flags | word(mi)) & PAD) == 0u && alone(document(mi), keys.documents)
    && (order || (word(mi) & keys.every & PREFIX) != 0u)
    && (keys.segments.y == 0u || alone(segment(mi), keys.segments));
}

// May any of the queries see one of this turn's keys?
fn keyNear(mj: Info, queries: Range) -> bool {
  var near = (word(mj) & PAD) == 0u && inside(document(mj), queries.documents);
  near = near && (segment(mj) == 0u || inside(segment(mj), queries.segments));
  #if WINDOW: near = near && ((word(mj) & PREFIX) != 0u || mj.y + p.window > queries.positions.x);
  #if EXCHANGE: near = subgroupAny(near);
  return near;
}

// May one of this turn's queries see any of the keys?
fn queryNear(mi: Info, keys: Range) -> bool {
  var near = (word(mi) & PAD) == 0u && inside(document(mi), keys.documents);
  near = near && (keys.segments.x == 0u || inside(segment(mi), keys.segments));
  #if WINDOW: near = near && ((word(mi) & PREFIX) != 0u || mi.y < keys.positions.y + p.window);
  #if EXCHANGE: near = subgroupAny(near);
  return near;
}

// Behind the last query that sees keys of answers, there is no other.
fn ofAnswers(keys: Range) -> bool { return keys.segments.x > 0u; }

// SKIP: the next turn that is near, from j on, else `end` or more. Where branches are masks and only loops jump
// (SwiftShader), a turn that `continue` passes over costs as much as any other; elsewhere the loop in the loop does.
#if SKIP
  fn nearKey(begin: u32, end: u32, first: u32, lane: u32, queries: Range) -> u32 {
    var j = begin;
    for (var far = true; far && j < end; j += select(0u, LANES, far)) {
      far = !keyNear(info[first + min(j + lane % LANES, end - 1u)], queries);
    }
    return j;
  }
  fn nearRow(begin: u32, end: u32, group: u32, first: u32, lane: u32, keys: Range) -> u32 {
    var row = begin;
    let step = select(LANES, end, ofAnswers(keys));
    for (var far = true; far && row < end; row += select(0u, step, far)) {
      far = !queryNear(info[first + min(row + lane % LANES, end - 1u) / group], keys);
    }
    return row;
  }
#end
