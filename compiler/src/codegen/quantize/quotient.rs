//! Quotients by a constant in two operations: `x h + (x l)` with `1 / s = h + l` to twice the digits of f32.
//!
//! That is the quotient rounded once for nearly every divisor (N. Brisebarre and J.-M. Muller, *Correctly rounded
//! multiplication by arbitrary precision constants*, 2008); here it is enough that it becomes the same integer. Both
//! sequences rise with `x`, so they agree if they step from each integer to the next at the same `x`, which is found by
//! trying the numbers around it.

/// How far the step to the next integer may lie from `(k + 1/2) s`, in steps of f32.
const NEAR: i32 = 2;
/// Integers of one more bit than a byte: a step of the proof each.
const MOST: f32 = 512.0;

/// The parts of `1 / scale`, if quotients that are rounded to `lo`, .., `hi` are right with them.
pub(super) fn parts(scale: f32, lo: f32, hi: f32) -> Option<[f32; 2]> {
    if hi - lo > MOST {
        return None;
    }
    let high = 1.0 / scale;
    let low = (1.0 / f64::from(scale) - f64::from(high)) as f32;
    let quotient = |x: f32| x.mul_add(high, x * low).round_ties_even();
    let right = (lo as i32..hi as i32).all(|k| {
        let near = around(f64::from(k) + 0.5, scale);
        let wanted = near.map(|x| (x / scale).round_ties_even());
        let known = wanted[0] == k as f32 && wanted[near.len() - 1] == (k + 1) as f32;
        known && near.map(quotient) == wanted
    });
    (right && low.is_finite()).then_some([high, low])
}

/// Numbers around the one whose quotient is `half`, which is not 0, in rising order.
pub(super) fn around(half: f64, scale: f32) -> [f32; 2 * NEAR as usize + 1] {
    let middle = (half * f64::from(scale)) as f32;
    let up = if half > 0.0 { 1 } else { -1 };
    std::array::from_fn(|i| f32::from_bits((middle.to_bits() as i32 + up * (i as i32 - NEAR)) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_operations_are_the_quotient() {
        let mut proved = 0;
        for i in 1..400u32 {
            let scale = (i as f32).sqrt() * 0.001 + i as f32 * 1e-5;
            let Some([high, low]) = parts(scale, -131.0, 124.0) else { continue };
            proved += 1;
            // Beside the proof: numbers far from a step, and all around the steps.
            for j in -140_000..140_000i32 {
                let x = j as f32 * scale * 0.00093;
                let wanted = (x / scale).round_ties_even();
                assert_eq!(x.mul_add(high, x * low).round_ties_even(), wanted, "{x} / {scale}");
            }
        }
        assert!(proved > 380, "{proved} of 399");
    }

    #[test]
    fn too_many_integers_are_not_tried() {
        assert_eq!(parts(0.1, 0.0, 65535.0), None);
    }
}
