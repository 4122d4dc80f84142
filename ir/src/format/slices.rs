//! Rows side by side, each with columns of its own: how few steps take all of their elements.
//!
//! A step has an element of each of 16 rows at most, all within 32 columns that begin at a multiple of 16. So a machine that
//! picks among as many numbers in registers brings 16 activations into their lanes at once, where it would load them one by one.
//! Rows take their elements in order: each step begins with the least column that is left, and a row whose next element is not
//! within its columns waits. Where one element in ten is kept at random, 62 % of a step's places have one, with windows
//! that do not overlap 50 %; SELL-C-sigma (Kreutzer et al., 2014) would have 80 % without windows.

/// Rows of a step.
pub(super) const ROWS: usize = 16;
/// Columns of a step.
pub(super) const WINDOW: usize = 32;
/// What the first one of them is a multiple of.
pub(super) const UNIT: usize = 16;

/// An element of each row at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Units from the first column of the step before, or of the matrix.
    pub(super) ahead: u8,
    /// Of each row that has an element: its column, from the first one of the step.
    pub(super) columns: [Option<u8>; ROWS],
}

/// Whether a matrix has so many columns as steps need.
pub(super) fn fits(columns: usize) -> bool {
    columns.is_multiple_of(UNIT) && columns >= WINDOW
}

/// The steps of rows of so many columns, of which `kept` says which are elements.
pub(super) fn steps(columns: usize, kept: impl Fn(usize, usize) -> bool) -> Vec<Step> {
    let next = |row: usize, from: usize| (from..columns).find(|column| kept(row, *column)).unwrap_or(columns);
    let mut left: [usize; ROWS] = std::array::from_fn(|row| next(row, 0));
    let (mut all, mut begin) = (Vec::new(), 0);
    while let Some(least) = left.iter().copied().min().filter(|column| *column < columns) {
        let wanted = (least / UNIT * UNIT).min(columns - WINDOW);
        // Where the next element is farther away than 8 bits tell, steps without one lead there.
        let ahead = u8::try_from((wanted - begin) / UNIT).unwrap_or(u8::MAX);
        begin += usize::from(ahead) * UNIT;
        let mut step = Step { ahead, columns: [None; ROWS] };
        for (row, left) in left.iter_mut().enumerate() {
            if (begin..begin + WINDOW).contains(left) && *left < columns {
                step.columns[row] = Some((*left - begin) as u8);
                *left = next(row, *left + 1);
            }
        }
        all.push(step);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_in_one_step_and_rows_are_in_order() {
        for (columns, density) in [(32, 3), (48, 7), (512, 10), (512, 100), (8192, 5000)] {
            let kept =
                |row: usize, column: usize| (row * 7919 + column * 104_729 + 13).is_multiple_of(density);
            let mut found = vec![Vec::new(); ROWS];
            let mut begin = 0;
            for step in steps(columns, kept) {
                begin += usize::from(step.ahead) * UNIT;
                assert!(begin + WINDOW <= columns);
                for (row, column) in step.columns.iter().enumerate() {
                    found[row].extend(column.map(|c| begin + usize::from(c)));
                }
            }
            for (row, found) in found.into_iter().enumerate() {
                assert_eq!(found, (0..columns).filter(|c| kept(row, *c)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn steps_without_elements_lead_far() {
        let all = steps(3 * 256 * UNIT, |row, column| row == 3 && column == 2 * 256 * UNIT + 5);
        assert_eq!(all.iter().map(|s| s.ahead).collect::<Vec<_>>(), [255, 255, 2]);
        assert_eq!(all[2].columns[3], Some(5));
        assert!(all[..2].iter().all(|s| s.columns == [None; ROWS]));
    }

    #[test]
    fn most_places_of_random_matrices_have_an_element() {
        let mut state = 1u64;
        let flags: Vec<bool> = (0..ROWS * 512)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33).is_multiple_of(10)
            })
            .collect();
        let places = ROWS * steps(512, |row, column| flags[row * 512 + column]).len();
        let part = flags.iter().filter(|kept| **kept).count() as f64 / places as f64;
        assert!((0.55..0.7).contains(&part), "{part}");
    }
}
