// Sizes of a product; K4 and N4 count vec4.
struct P { R: u32, K4: u32, N4: u32, chunk: u32, plusRows: u32, scale: f32, x: u32, y: u32 }
@group(0) @binding(0) var<uniform> p: P;
