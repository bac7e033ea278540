// TEAM neighbouring threads share a row; 0: one thread has it alone, with no barrier. MEMBERS is the number of them.
// rowSum: of the shares of a team, in the order of its threads, the same bits in each. All threads of a workgroup, of at most
// 64, call it together. TEAM divides their number.
const MEMBERS = max(TEAM, 1u);
#if TEAM: var<workgroup> shares: array<f32, 64>;
fn rowSum(thread: u32, share: vec4f) -> f32 {
  let own = share.x + share.y + share.z + share.w;
  #if !TEAM: return own;
  #if TEAM
    shares[thread] = own;
    workgroupBarrier();
    let first = thread - thread % TEAM;
    var sum = 0.0;
    for (var i = 0u; i < TEAM; i++) { sum += shares[first + i]; }
    return sum;
  #end
}
