//! What reductions are to vectors.

use kiln_ir::DType;
use kiln_ir::kernel::{ReduceOp, Scalar};
use kiln_targets::simd::{Across, Op2, R, Refusal};

/// Operation, identity and how lanes combine, for numbers of a type.
pub(super) fn reduction(op: ReduceOp, dtype: DType) -> R<(Op2, Scalar, Across)> {
    if dtype == DType::Bool {
        // All ones are -1, the lesser of the two.
        return match op {
            ReduceOp::Max => Ok((Op2::Or, Scalar::int(dtype, 0), Across::Min)),
            ReduceOp::Min => Ok((Op2::And, Scalar::int(dtype, 1), Across::Max)),
            _ => Err(Refusal::unsupported("reductions of bools in vectors")),
        };
    }
    let width = dtype.bits() as u32;
    let (least, most) = match (dtype.is_float(), dtype.is_signed_int()) {
        (true, _) => (Scalar::of(dtype, f64::NEG_INFINITY), Scalar::of(dtype, f64::INFINITY)),
        (_, true) => {
            (Scalar::int(dtype, i64::MIN >> (64 - width)), Scalar::int(dtype, i64::MAX >> (64 - width)))
        }
        _ => (Scalar::int(dtype, 0), Scalar::int(dtype, -1)),
    };
    Ok(match op {
        ReduceOp::Sum => (Op2::Add, Scalar::of(dtype, 0.0), Across::Sum),
        ReduceOp::Prod => (Op2::Mul, Scalar::of(dtype, 1.0), Across::Prod),
        ReduceOp::Max => (Op2::MaxNan, least, Across::Max),
        ReduceOp::Min => (Op2::MinNan, most, Across::Min),
        ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. } => {
            return Err(Refusal::unsupported("positions of extremes as values"));
        }
    })
}
