//! Products with padding that a contraction leaves out.
//!
//! ```text
//!   oh  kh=0 1 2      a 3 x 3 window of dilation 2 over 6 rows, one side: four of eighteen taps lie in the halo;
//!    0    . x x       rows 0 and 1, 2 and 3, 4 and 5 have code of their own, with two, three and two taps
//!    1    . x x
//!    2    x x x
//!    ..
//!    5    x x .
//! ```
//!
//! A halo holds the padding, so that tiles need not know of it. Guards that are kept beside it cut the loops: a piece has
//! only the taps that meet the image. Weights are packed by the loops that remain, so that this depends on the kernel
//! alone and is the same for every target.

use kiln_ir::kernel::plan::{FlatAccess, Guard};
use kiln_ir::kernel::{Form, LoopId, Role};

use super::strides::{extent_of, stride_of};
use crate::flatten::{FlatKernel, loops_of, merge_loops};

/// The part of an axis' products that must fall away for code of several pieces to be worth it.
const WORTH: f64 = 0.05;
/// Pieces of an axis, each with code of its own.
const MOST_PIECES: usize = 5;
/// Iterations of every piece of the loop along which pixels lie next to each other, which tiles run along: shorter tiles
/// do not hide the latency of their products.
const LEAST_ROWS: i64 = 4;

/// A contraction without guards, as its halo allows, and with those that pay, if any does; other kernels stay as they are.
pub fn split(kernel: FlatKernel) -> (FlatKernel, Option<FlatKernel>) {
    let Form::Contract { lhs, .. } = &kernel.form else { return (kernel, None) };
    if lhs.guards.is_empty() {
        return (kernel, None);
    }
    let closest = closest(&kernel);
    let worth: Vec<Guard> = lhs.guards.iter().filter(|g| pays(&kernel, g, closest)).cloned().collect();
    let with = |guards: Vec<Guard>| {
        let mut kernel = kernel.clone();
        if let Form::Contract { lhs, .. } = &mut kernel.form {
            lhs.otherwise = lhs.otherwise.filter(|_| !guards.is_empty());
            lhs.guards = guards;
        }
        merge_loops(&mut kernel);
        kernel
    };
    let skipping = (!worth.is_empty()).then(|| with(worth));
    (with(Vec::new()), skipping)
}

/// Lengths of the pieces that a loop is cut into where an access has other elements of the padding.
pub(super) fn pieces(kernel: &FlatKernel, access: &FlatAccess, l: LoopId) -> Vec<i64> {
    let whole = || vec![extent_of(kernel, l).unwrap_or(1)];
    // A loop has a part in one axis of an image, as a rule; where it has not, any cut does for a cost.
    let guard = access.guards.iter().find(|g| !g.coefficients[l.0 as usize].is(0));
    guard.and_then(|g| Cut::of(kernel, g)).filter(|cut| cut.along == l).map_or_else(whole, |cut| cut.pieces)
}

/// The loop of a contraction's rows whose iterations lie closest together in its left operand.
fn closest(kernel: &FlatKernel) -> Option<LoopId> {
    let Form::Contract { lhs, rhs, .. } = &kernel.form else { return None };
    let rows = loops_of(&kernel.loops, Role::Parallel)
        .into_iter()
        .filter(|l| stride_of(rhs, *l) == Some(0) && stride_of(lhs, *l).is_some_and(|s| s != 0));
    rows.min_by_key(|l| stride_of(lhs, *l).map(i64::abs))
}

fn pays(kernel: &FlatKernel, guard: &Guard, closest: Option<LoopId>) -> bool {
    let Some(cut) = Cut::of(kernel, guard) else { return false };
    let long = closest != Some(cut.along) || cut.pieces.iter().all(|n| *n >= LEAST_ROWS);
    cut.saved >= WORTH && cut.pieces.len() <= MOST_PIECES && long
}

/// What a guard over a loop of rows and one of taps comes to.
struct Cut {
    /// The loop of rows.
    along: LoopId,
    /// Its consecutive iterations that meet the same taps.
    pieces: Vec<i64>,
    /// The part of all taps that lies in the padding.
    saved: f64,
}

impl Cut {
    fn of(kernel: &FlatKernel, guard: &Guard) -> Option<Self> {
        let moving = |role| {
            let moves = |l: &LoopId| !guard.coefficients[l.0 as usize].is(0);
            let mut loops = loops_of(&kernel.loops, role).into_iter().filter(moves);
            let l = loops.next().filter(|_| loops.next().is_none())?;
            let extent = kernel.loops[l.0 as usize].extent.as_const()?;
            Some((l, guard.coefficients[l.0 as usize].as_const()?, extent))
        };
        let (along, step, rows) = moving(Role::Parallel)?;
        let (_, apart, taps) = moving(Role::Reduce)?;
        let (offset, extent) = (guard.offset.as_const()?, guard.extent.as_const()?);
        let inside = |row: i64, tap: &i64| (0..extent).contains(&(offset + step * row + apart * tap));
        let (mut pieces, mut before, mut met) = (Vec::new(), None, 0);
        for row in 0..rows {
            let here: Vec<i64> = (0..taps).filter(|tap| inside(row, tap)).collect();
            met += here.len();
            match pieces.last_mut().filter(|_| before.as_ref() == Some(&here)) {
                Some(length) => *length += 1,
                None => pieces.push(1),
            }
            before = Some(here);
        }
        let saved = 1.0 - met as f64 / (rows * taps).max(1) as f64;
        Some(Self { along, pieces, saved })
    }
}

#[cfg(test)]
mod tests {
    use kiln_ir::Dim;
    use kiln_ir::kernel::plan::Storage;
    use kiln_ir::kernel::{Expr, Loop, Scalar, Store};
    use kiln_ir::types::DType;

    use super::*;

    /// A convolution of `n` x `n` pixels of 8 channels that keeps their number, with a window of `k` x `k` and padding.
    fn convolution(n: i64, k: i64, dilation: i64) -> FlatKernel {
        let (pad, row) = (dilation * (k - 1) / 2, (n + dilation * (k - 1)) * 8);
        let loops =
            [("oh", n), ("ow", n), ("o", 16), ("kh", k), ("kw", k), ("c", 8)].map(|(name, extent)| Loop {
                name: name.to_owned(),
                extent: Dim::Const(extent),
                role: if name.starts_with('o') { Role::Parallel } else { Role::Reduce },
            });
        let access = |strides: [i64; 6], guards: Vec<Guard>| FlatAccess {
            name: "x".to_owned(),
            storage: Storage::Input(0),
            dtype: DType::F32,
            offset: Dim::Const(0),
            strides: strides.map(Dim::Const).to_vec(),
            gathers: vec![],
            otherwise: (!guards.is_empty()).then(|| Scalar::f32(0.0)),
            guards,
        };
        let guard = |coefficients: [i64; 6]| Guard {
            offset: Dim::Const(-pad),
            coefficients: coefficients.map(Dim::Const).to_vec(),
            extent: Dim::Const(n),
        };
        let guards = vec![guard([1, 0, 0, dilation, 0, 0]), guard([0, 1, 0, 0, dilation, 0])];
        let form = Form::Contract {
            acc: DType::F32,
            lhs: access([row, 8, 0, dilation * row, dilation * 8, 1], guards),
            rhs: access([0, 0, 1, 16 * 8 * k, 16 * 8, 16], vec![]),
            store: Store { to: access([16 * n, 16, 1, 0, 0, 0], vec![]), value: Expr::Acc },
        };
        FlatKernel {
            name: "c".to_owned(),
            nodes: vec![],
            loops: loops.to_vec(),
            form,
            bounds: Default::default(),
        }
    }

    /// The pieces of the rows and of the columns of pixels, where products are left out, and how many loops there are.
    fn cut(kernel: FlatKernel) -> Option<(Vec<i64>, Vec<i64>, usize)> {
        let (bare, skipping) = split(kernel);
        let Form::Contract { lhs, .. } = &bare.form else { panic!("a contraction") };
        assert!(lhs.guards.is_empty() && lhs.otherwise.is_none());
        let skipping = skipping?;
        let Form::Contract { lhs, .. } = &skipping.form else { panic!("a contraction") };
        let along = |l| pieces(&skipping, lhs, LoopId(l));
        Some((along(0), along(1), skipping.loops.len()))
    }

    #[test]
    fn far_taps_cut_both_axes_and_near_ones_the_outer_one() {
        assert_eq!(cut(convolution(32, 3, 6)), Some((vec![6, 20, 6], vec![6, 20, 6], 6)));
        // Single pixels at the ends of each row are no tiles; taps and channels are one loop then.
        assert_eq!(cut(convolution(8, 3, 1)), Some((vec![1, 6, 1], vec![8], 5)));
        // One row of 56 is not worth it, nor are nine pieces.
        assert_eq!(cut(convolution(56, 3, 1)), None);
        assert_eq!(cut(convolution(16, 9, 1)), None);
    }
}
