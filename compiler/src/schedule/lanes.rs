//! Which side of a contraction becomes lanes.
//!
//! | lanes | what must be contiguous | good for |
//! | --- | --- | --- |
//! | columns | rhs (packed weights are) and result, along a loop of rhs | many columns |
//! | rows | lhs and result, along a loop of lhs | few columns of images whose pixels lie side by side |
//! | depth | both operands, along a reduced loop | few columns or a matrix that lies with its depth innermost |

use kiln_ir::kernel::Form;
use kiln_targets::Target;

use super::{contract, dots};
use crate::flatten::FlatKernel;

/// What the lanes of a contraction's vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// Iterations of a loop of rhs: [`contract`].
    Columns,
    /// Iterations of a loop of lhs: [`contract`], with the operands exchanged.
    Rows,
    /// Steps of the depth: [`dots`].
    Depth,
}

/// How much cheaper than columns something else must be by the model, which leaves out what differs little.
const WORTH: f64 = 0.8;

/// The best lanes of a contraction. `constant`: rhs is constant, so columns are in panels, and where depth becomes lanes
/// rhs is laid out as in the kernel `by_depth`.
pub fn choose(
    kernel: &FlatKernel,
    constant: bool,
    by_depth: Option<&FlatKernel>,
    target: &Target,
) -> Option<Lanes> {
    let columns = contract::cycles(kernel, constant, target);
    let rows = contract::cycles(&turned(kernel, constant), false, target);
    let depth = by_depth.and_then(|k| dots::best(k, target).ok()).map(|best| best.cycles);
    let all = [(columns, Lanes::Columns), (rows, Lanes::Rows), (depth, Lanes::Depth)];
    let weighed = all.into_iter().filter_map(|(cycles, lanes)| {
        Some((cycles? * if lanes == Lanes::Columns { WORTH } else { 1.0 }, lanes))
    });
    weighed.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, lanes)| lanes)
}

/// The same contraction with its operands exchanged: products commute. Where rhs is `constant`, floats of 16 bits are to be
/// made f32: they are few, and each of them would be converted for every vector.
pub fn turned(kernel: &FlatKernel, constant: bool) -> FlatKernel {
    let mut kernel = kernel.clone();
    if let Form::Contract { acc, lhs, rhs, .. } = &mut kernel.form {
        std::mem::swap(lhs, rhs);
        if constant && lhs.dtype.accumulator() == *acc {
            lhs.dtype = *acc;
        }
    }
    kernel
}

#[cfg(test)]
mod tests {
    use kiln_ir::kernel::plan::{FlatAccess, Storage};
    use kiln_ir::kernel::{Expr, Loop, Role, Store};
    use kiln_ir::{DType, Dim};

    use super::*;

    fn access(strides: [i64; 3], dtype: DType) -> FlatAccess {
        FlatAccess {
            name: "x".to_owned(),
            storage: Storage::Input(0),
            dtype,
            offset: Dim::Const(0),
            strides: strides.iter().map(|s| Dim::Const(*s)).collect(),
            gathers: vec![],
            guards: vec![],
            otherwise: None,
        }
    }

    /// Rows, columns and depth; strides of lhs, rhs and result.
    fn product(extents: [i64; 3], strides: [[i64; 3]; 3], dtype: DType) -> FlatKernel {
        let loops = ["m", "n", "k"].iter().zip(extents).map(|(name, extent)| Loop {
            name: (*name).to_owned(),
            extent: Dim::Const(extent),
            role: if *name == "k" { Role::Reduce } else { Role::Parallel },
        });
        let [lhs, rhs, to] = strides.map(|s| access(s, dtype));
        let form = Form::Contract { acc: dtype, lhs, rhs, store: Store { to, value: Expr::Acc } };
        FlatKernel {
            name: "p".to_owned(),
            nodes: vec![],
            loops: loops.collect(),
            form,
            bounds: Default::default(),
        }
    }

    #[test]
    fn the_side_that_fills_vectors_becomes_lanes() {
        for level in ["sse2", "avx", "avx2", "avx512"] {
            let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", level, "").unwrap();
            let of = |kernel: &FlatKernel, constant: bool, by_depth: Option<&FlatKernel>| {
                choose(kernel, constant, by_depth, &target)
            };
            for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
                // Row-major matrices, many columns.
                let wide = product([64, 128, 64], [[64, 0, 1], [0, 1, 128], [128, 1, 0]], dtype);
                assert_eq!(of(&wide, false, Some(&wide)), Some(Lanes::Columns), "{level} {dtype}");
                // One column, and a right operand that is transposed.
                let column = product([64, 1, 64], [[64, 0, 1], [0, 0, 1], [1, 0, 0]], dtype);
                assert_eq!(of(&column, false, Some(&column)), Some(Lanes::Depth), "{level} {dtype}");
                let turned = product([8, 64, 64], [[64, 0, 1], [0, 64, 1], [64, 1, 0]], dtype);
                assert_eq!(of(&turned, false, Some(&turned)), Some(Lanes::Depth), "{level} {dtype}");
                // Three channels over pixels side by side.
                let planes = product([4096, 3, 64], [[1, 0, 4096], [0, 64, 1], [1, 4096, 0]], dtype);
                assert_eq!(of(&planes, true, None), Some(Lanes::Rows), "{level} {dtype}");
            }
            // Nothing is contiguous.
            let neither = product([64, 64, 64], [[2, 0, 128], [0, 2, 128], [128, 2, 0]], DType::F32);
            assert_eq!(of(&neither, false, Some(&neither)), None);
        }
    }
}
