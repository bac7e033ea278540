// Sizes of a product (matmul_sizes), and with LORA its low-rank part (src/ops/lora.ts), added to the sums over k: y[r,n] also gets
//   LORA_B 1   Σ_j z[r, m, j] B_m[j, n − first_m]       in the columns of member m: what its adapter adds to a projection
//   LORA_B 0   Σ_m Σ_j z[r, m, j] A_m[n, j]             in all columns: what the adapters add to the gradient of their input
// z: rows of p.lora.x  factors: flat buffer of B_m: (rank, width), A_m: (N, rank).  Everything in vec4. p.lora: (stride of z, rank,
// members). members: (first column in y, columns, place of the factor, place in a row of z).
#if !LORA
  #include matmul_sizes
#end
#if LORA
  struct P {
    R: u32, K4: u32, N4: u32, chunk: u32, plusRows: u32, scale: f32, x: u32, y: u32,
    lora: vec4u, members: array<vec4u, 3>
  }
  @group(0) @binding(0) var<uniform> p: P;
  #if !PLUS: @group(0) @binding(4) var<storage, read> z: array<vec4f>;
  #if !PLUS: @group(0) @binding(5) var<storage, read> factors: array<vec4f>;
  #if PLUS: @group(0) @binding(5) var<storage, read> z: array<vec4f>;
  #if PLUS: @group(0) @binding(6) var<storage, read> factors: array<vec4f>;
  // Has a workgroup to do with it that owns `width` vec4 of columns from `begin` on, and this part of the sum over k?
  fn concerns(member: vec4u, begin: u32, width: u32, part: u32) -> bool {
    return part == 0u && member.x < begin + width && begin < member.x + member.y;
  }
  // Rows 4 j … 4 j + 3 of a member's factor in vec4 n of y's columns; zero beside its own.
  fn loraRows(member: vec4u, n: u32, j: u32) -> mat4x4f {
    #if LORA_B
      let at = member.z + 4u * j * member.y + min(n - member.x, member.y - 1u);
      let own = select(0.0, 1.0, n >= member.x && n < member.x + member.y);
      return own * mat4x4f(factors[at], factors[at + member.y], factors[at + 2u * member.y], factors[at + 3u * member.y]);
    #end
    #if !LORA_B
      let rank4 = p.lora.y;
      let at = member.z + 4u * n * rank4 + j;
      return transpose(mat4x4f(factors[at], factors[at + rank4], factors[at + 2u * rank4], factors[at + 3u * rank4]));
    #end
  }
#end
