//! Weights whose products may be summed in 16 bits.
//!
//! Machines without an instruction for sums of products of bytes multiply unsigned activations by signed weights and add two
//! such products in 16 bits, saturating: `255 * (a + b)` fits them for weights of one sign with `|a| + |b| <= 128`
//! (`255 * 128 = 32640 < 32768`), and for weights of different signs always. The pairs are neighbours in the depth as kernels
//! take it: for a tap of a window, channels 0 and 1, 2 and 3, and so on; for a matrix, neighbouring rows of it. Depthwise
//! windows have one channel and no pairs.
//!
//! A compiler need not know that weights were made so: it proves it from the weights.

/// The largest sum of two weights of one sign.
pub const MOST: i32 = 128;

/// The partner of a weight: the other one of its pair. `taps` is how many numbers apart the channels of a row lie.
pub(crate) fn partner(k: usize, depth: usize, taps: usize) -> Option<usize> {
    let (channel, tap) = (k / taps, k % taps);
    let other = (channel ^ 1) * taps + tap;
    (other < depth).then_some(other)
}

/// The largest weight, in absolute value, beside a partner that is fixed.
pub(crate) fn room(sign: i32, partner: i32, most: i32) -> i32 {
    if sign * partner > 0 { most.min(MOST - partner.abs()) } else { most }
}

/// Makes pairs of a row fit: what is too much is taken from both, a little more from the one that counts less.
/// `wish` are the weights before rounding, in steps, and `cost` is what the square of an error in each of them costs.
pub(crate) fn limit(row: &mut [i32], wish: &[f64], cost: &[f64], taps: usize) {
    for k in 0..row.len() {
        let Some(p) = partner(k, row.len(), taps).filter(|p| *p > k) else { continue };
        let (a, b) = (row[k], row[p]);
        if a * b <= 0 || (a + b).abs() <= MOST {
            continue;
        }
        let sign = a.signum();
        let price = |a: i32, b: i32| {
            let (x, y) = (f64::from(sign * a) - wish[k], f64::from(sign * b) - wish[p]);
            cost[k] * x * x + cost[p] * y * y
        };
        let (most, least) = (a.abs(), MOST - b.abs());
        let best = (least..=most.min(MOST))
            .min_by(|x, y| price(*x, MOST - *x).total_cmp(&price(*y, MOST - *y)))
            .unwrap_or(least);
        row[k] = sign * best;
        row[p] = sign * (MOST - best);
    }
}

/// Whether every pair of a row fits.
#[cfg(test)]
pub(crate) fn fits(row: &[i32], taps: usize) -> bool {
    (0..row.len()).all(|k| {
        let other = partner(k, row.len(), taps).map_or(0, |p| row[p]);
        row[k] * other <= 0 || (row[k] + other).abs() <= MOST
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_neighbouring_channels_of_one_tap() {
        assert_eq!(partner(0, 6, 3), Some(3));
        assert_eq!(partner(4, 6, 3), Some(1));
        assert_eq!(partner(6, 9, 3), None);
        assert_eq!(partner(1, 4, 1), Some(0));
    }

    #[test]
    fn what_is_too_much_is_shared() {
        let mut row = [100, 100, -127, 127, 120, 3];
        limit(&mut row, &[100.0, 100.0, -127.0, 127.0, 120.0, 3.0], &[1.0; 6], 1);
        assert_eq!(row, [64, 64, -127, 127, 120, 3]);
        // The first counts more.
        let mut row = [-100, -100];
        limit(&mut row, &[-100.0, -100.0], &[9.0, 1.0], 1);
        assert!(row[0] < -90 && row[0] + row[1] == -MOST && fits(&row, 1), "{row:?}");
        assert_eq!((room(1, 100, 127), room(-1, 100, 127)), (28, 127));
    }
}
