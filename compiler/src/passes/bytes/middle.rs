//! Weights less a zero point that is not in the middle: they need nine bits, but less their middle they are bytes.
//!
//! ```text
//!   sum of x * w  =  sum of x * (w - middle)  +  middle * sum of x
//! ```
//!
//! The sums of activations are one for each row of a product of matrices, or for each place of a window.

use kiln_ir::kernel::{
    Access, Affine, BinaryOp, BufferKind, Edits, Expr, Form, Index, Kernel, LoopId, Program, ReduceOp, Role,
    Scalar, Store,
};
use kiln_ir::{DType, Result, Shape, Tensor, TensorType};

use crate::passes::substitute::{Substitution, substitute_access};

/// Least and greatest signed byte.
const BYTES: (i64, i64) = (-128, 127);

/// The weights of sum `i` less their middle, where these are bytes; the sum has what corrects it then.
pub(super) fn moved(
    program: &mut Program,
    i: usize,
    lhs: &Access,
    rhs: &Access,
    edits: &mut Edits,
) -> Result<Option<Tensor>> {
    let weights = program.constant(rhs.buffer)?;
    if weights.dtype.size() > 4 || weights.elements() == 0 {
        return Ok(None);
    }
    let values: Vec<i64> = weights.to_f64s()?.into_iter().map(|v| v as i64).collect();
    let (lo, hi) = values.iter().fold((i64::MAX, i64::MIN), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
    let middle = lo - BYTES.0;
    if hi - middle > BYTES.1 {
        return Ok(None);
    }
    let bytes = values.into_iter().map(|v| (v - middle) as i8).collect();
    let bytes = Tensor::from_vec::<i8>(&weights.shape, bytes);
    let sums = sums(program, i, lhs, edits);
    let correction =
        Expr::binary(BinaryOp::Mul, Expr::Load(sums), Expr::Const(Scalar::int(DType::I32, middle)));
    let whole = Expr::binary(BinaryOp::Add, Expr::Acc, correction);
    if let Form::Contract { store, .. } = &mut program.kernel_mut(i).form {
        store.value = store.value.replace(&mut |part| (*part == Expr::Acc).then(|| whole.clone()));
    }
    Ok(Some(bytes))
}

/// The sums of what a kernel reads of its activations for each result, and the kernel that makes them, before that one.
fn sums(program: &mut Program, i: usize, lhs: &Access, edits: &mut Edits) -> Access {
    let kernel = program.kernel(i);
    let used =
        |l: &LoopId| lhs.index.iter().any(|index| index.affine().is_some_and(|a| !a.coefficient(*l).is(0)));
    let rows: Vec<LoopId> = kernel.loops_of(Role::Parallel).into_iter().filter(used).collect();
    let all: Vec<LoopId> = rows.iter().copied().chain(kernel.loops_of(Role::Reduce)).collect();
    let loops = all.iter().map(|l| kernel.loop_(*l).clone()).collect();
    let shape: Shape = rows.iter().map(|l| kernel.loop_(*l).extent.clone()).collect();
    let nodes = kernel.nodes.clone();
    let at: Substitution =
        all.iter().enumerate().map(|(new, old)| (*old, Affine::of(LoopId(new as u16)))).collect();
    let stem = format!("{}.rows", program.buffer(lhs.buffer).name);
    let to = program.add_buffer(&stem, TensorType::new(DType::I32, shape), BufferKind::Temp);
    let place = (0..rows.len() as u16).map(|l| Index::from(LoopId(l))).collect();
    let value = Expr::cast(DType::I32, Expr::Load(substitute_access(lhs, &at)));
    let store = Store { to: Access::new(to, place), value: Expr::Acc };
    let name = program.kernel_name(&stem);
    edits.insert(i, Kernel { name, nodes, loops, form: Form::Reduce { op: ReduceOp::Sum, value, store } });
    Access::new(to, rows.into_iter().map(Index::from).collect())
}
