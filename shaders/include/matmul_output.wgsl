// How a sum becomes an element of the product:  y[z,r,n] = scale · sum  (+ y if ACC)  (+ plus[r mod plusRows, n] if PLUS)
// plus is a residual (plusRows = R), a bias (plusRows = 1) or a table of positions.
fn put(z: u32, r: u32, n: u32, sum: vec4f) {
  if (r < p.R && n < p.N4) {
    let at = (z * p.R + r) * p.N4 + n;
    var v = p.scale * sum;
    #if ACC: v += y[at];
    #if PLUS: v += plus[(r % p.plusRows) * p.N4 + n];
    y[at] = v;
  }
}
