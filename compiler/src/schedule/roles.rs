//! The roles of a contraction's loops, and what its factors are.

use kiln_ir::DType;
use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{Expr, Form, LoopId, Role};
use kiln_targets::{Target, vector_expr};

use super::strides::{
    bordered_access, by_falling_stride, extent_of, is_open, longest, stride_of, vector_access,
};
use crate::flatten::{FlatKernel, loops_of};

/// The roles of a contraction's loops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// In lhs, rhs and store: groups, batches of products.
    pub batch: Vec<LoopId>,
    /// In lhs and store.
    pub rows: Vec<LoopId>,
    /// In rhs and store; the lanes.
    pub col: LoopId,
    /// Reduced, outermost first as lhs lies in memory.
    pub depth: Vec<LoopId>,
    /// The reduced loops through four bytes, where these were cut off `depth`.
    pub quad: Option<[LoopId; 2]>,
    /// The reduced loop through the two fours of eight bytes, where these were cut off too.
    pub eight: Option<LoopId>,
}

/// Whether sums of that type are computed in vectors.
pub fn is_sum(ty: DType) -> bool {
    matches!(ty, DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::I64 | DType::U64)
}

/// Whether factors are bytes that are multiplied four at a time: activations and signed weights.
pub fn is_bytes(kernel: &FlatKernel) -> bool {
    let Form::Contract { acc, lhs, rhs, .. } = &kernel.form else { return false };
    matches!((*acc, lhs.dtype, rhs.dtype), (DType::I32, DType::U8 | DType::I8, DType::I8))
}

/// Whether all of them have signs.
pub fn is_signed(kernel: &FlatKernel) -> bool {
    let Form::Contract { lhs, .. } = &kernel.form else { return false };
    is_bytes(kernel) && lhs.dtype == DType::I8
}

/// Whether they are multiplied in pairs, whole registers of them.
pub(super) fn is_long(kernel: &FlatKernel, target: &Target) -> bool {
    is_signed(kernel) && target.multiplies_long && !target.multiplies_fours()
}

/// Whether factors are words, which are multiplied two at a time; weights may be bytes that become words.
pub fn is_words(kernel: &FlatKernel) -> bool {
    let Form::Contract { acc, lhs, rhs, .. } = &kernel.form else { return false };
    (*acc, lhs.dtype) == (DType::I32, DType::I16) && matches!(rhs.dtype, DType::I8 | DType::I16)
}

/// Whether weights are bytes of which a machine makes words of every other one.
pub fn is_crossed(kernel: &FlatKernel, target: &Target) -> bool {
    target.crosses_bytes && is_words(kernel) && rhs_size(kernel) == 1
}

/// Whether four bytes of a column lie together in the panels of weights: for an instruction that multiplies them, or as pairs
/// whose products fit 16 bits.
pub(super) fn lies_in_fours(kernel: &FlatKernel, col: LoopId) -> bool {
    let Form::Contract { rhs, .. } = &kernel.form else { return false };
    is_bytes(kernel) && stride_of(rhs, col) == Some(4)
}

/// Whether several steps of depth are multiplied at a time.
pub(super) fn in_fours(kernel: &FlatKernel) -> bool {
    is_bytes(kernel) || is_words(kernel)
}

/// Sorts the loops by role. `packed`: rhs is or will be packed, its own strides do not matter.
pub fn roles(kernel: &FlatKernel, packed: bool) -> Result<Roles, String> {
    let Form::Contract { acc, lhs, rhs, store } = &kernel.form else {
        return Err("no contraction".to_owned());
    };
    if !is_sum(*acc) {
        return Err(format!("sums are {acc}"));
    }
    for access in kernel.form.loads().into_iter().chain([&store.to]) {
        if std::ptr::eq(access, lhs) { bordered_access(access) } else { vector_access(access) }?;
    }
    // Floats of 16 bits become f32 as they are loaded: by vectors, not element by element.
    let short = in_fours(kernel);
    if !short && (lhs.dtype.accumulator() != *acc || rhs.dtype.accumulator() != *acc) {
        return Err(format!("factors are {} and {}, sums are {acc}", lhs.dtype, rhs.dtype));
    }
    if epilogue(&store.value, *acc)? != store.to.dtype {
        return Err(format!("the result is stored as {}", store.to.dtype));
    }
    if short && (!packed || !lhs.guards.is_empty() || !rhs.guards.is_empty()) {
        return Err("bytes and words are multiplied in panels and without padding".to_owned());
    }
    let zero = |a: &FlatAccess, l: LoopId| stride_of(a, l) == Some(0);
    let parallel = loops_of(&kernel.loops, Role::Parallel);
    let is_col = |l: &LoopId| {
        let closed = !packed || !is_open(kernel, *l);
        let mut lanes = closed && zero(lhs, *l) && !zero(rhs, *l) && stride_of(&store.to, *l) == Some(1);
        lanes &= packed || stride_of(rhs, *l) == Some(1);
        store.value.for_each_access(&mut |a| lanes &= matches!(stride_of(a, *l), Some(0 | 1)));
        lanes
    };
    let col = longest(kernel, parallel.iter().copied().filter(is_col));
    let col = col.ok_or_else(|| "no loop runs through rhs and result contiguously".to_owned())?;
    let others = || parallel.iter().copied().filter(|l| *l != col);
    let mut depth = by_falling_stride(loops_of(&kernel.loops, Role::Reduce), Some(lhs));
    if let Some(l) = depth.iter().find(|l| packed && is_open(kernel, **l)) {
        return Err(format!("the depth '{}' is open", kernel.loops[l.0 as usize].name));
    }
    if let Some(l) = depth.last().filter(|l| stride_of(lhs, **l).is_none()) {
        return Err(format!(
            "along the depth '{}' there is an open distance",
            kernel.loops[l.0 as usize].name
        ));
    }
    let quad = quad(kernel, &depth).filter(|_| short);
    if quad.is_some() {
        depth.truncate(depth.len() - 2);
    }
    let eight = quad.and_then(|_| eight(kernel, col, &depth));
    if eight.is_some() {
        depth.pop();
    }
    Ok(Roles {
        batch: others().filter(|l| !zero(rhs, *l)).collect(),
        rows: others().filter(|l| zero(rhs, *l)).collect(),
        col,
        depth,
        quad,
        eight,
    })
}

/// The last two loops of a depth that was cut into fours: through the pair of a step, and through pairs.
fn quad(kernel: &FlatKernel, depth: &[LoopId]) -> Option<[LoopId; 2]> {
    let (Form::Contract { lhs, .. }, [.., pair, step]) = (&kernel.form, depth) else { return None };
    let is = |l: &LoopId, stride| extent_of(kernel, *l) == Some(2) && stride_of(lhs, *l) == Some(stride);
    (is(step, 1) && is(pair, 2)).then_some([*step, *pair])
}

/// The last loop around fours, where two of them lie together in a column.
fn eight(kernel: &FlatKernel, col: LoopId, depth: &[LoopId]) -> Option<LoopId> {
    let Form::Contract { lhs, rhs, .. } = &kernel.form else { return None };
    let last = depth.last().copied().filter(|l| extent_of(kernel, *l) == Some(2))?;
    ([stride_of(lhs, last), stride_of(rhs, col)] == [Some(4), Some(8)]).then_some(last)
}

/// The type of an epilogue that is computed in lanes of the sums' width.
fn epilogue(value: &Expr<FlatAccess>, acc: DType) -> Result<DType, String> {
    if acc.size() == 4 {
        return vector_expr::epilogue(value, acc);
    }
    let dtype = vector_expr::dtype(value, Some(acc))?;
    if dtype != acc || leaves(value, acc) {
        return Err(format!("the epilogue is not {acc} throughout"));
    }
    Ok(dtype)
}

/// Whether a value of another type than sums and bools comes up.
fn leaves(value: &Expr<FlatAccess>, acc: DType) -> bool {
    let here = matches!(value, Expr::Cast(to, _) if *to != acc && *to != DType::Bool);
    here || value.children().into_iter().any(|child| leaves(child, acc))
}

/// The type of the sums.
pub(super) fn sums(kernel: &FlatKernel) -> DType {
    match &kernel.form {
        Form::Contract { acc, .. } => *acc,
        _ => DType::F32,
    }
}

/// Bytes of a sum.
pub(super) fn size(kernel: &FlatKernel) -> i64 {
    sums(kernel).size() as i64
}

/// Whether products of floats of 16 bits are added to f32 by instructions.
pub(super) fn is_halves(kernel: &FlatKernel, target: &Target) -> bool {
    let Form::Contract { acc: DType::F32, lhs, rhs, .. } = &kernel.form else { return false };
    target.multiplies_halves && (lhs.dtype, rhs.dtype) == (DType::F16, DType::F16)
}

/// Bytes of an element of rhs.
pub(super) fn rhs_size(kernel: &FlatKernel) -> i64 {
    match &kernel.form {
        Form::Contract { rhs, .. } => rhs.dtype.size() as i64,
        _ => DType::F32.size() as i64,
    }
}
