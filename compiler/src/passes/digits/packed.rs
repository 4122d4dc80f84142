//! What `packed_product.rs` makes of a product with weights of four or eight bits.

use kiln_ir::DType;
use kiln_ir::kernel::digits::COLUMNS;
use kiln_ir::kernel::{
    Access, Affine, BinaryOp, BufferId, BufferKind, Expr, Form, Index, Kernel, LoopId, Program, ReduceOp,
    Role,
};

/// Bytes of a column that lie together.
pub(super) const GROUP: usize = 4;
/// Bytes of a block, at most: all of its products are code.
const MOST_BYTES: usize = 64;

/// A product with weights of four or eight bits.
pub(super) struct Packed {
    /// `[N, blocks, bytes]`.
    pub(super) weights: BufferId,
    /// `[N, blocks]`, in one axis or two.
    pub(super) scales: BufferId,
    /// `[rows.., blocks, parts, bytes]`.
    pub(super) numbers: BufferId,
    /// Weights of a byte: 1 or 2.
    pub(super) parts: usize,
    pub(super) zero: Zero,
    pub(super) columns: usize,
    pub(super) blocks: usize,
    pub(super) bytes: usize,
    /// The loops of the rows, and that of the columns.
    pub(super) rows: Vec<LoopId>,
    pub(super) column: LoopId,
}

/// What is taken from every weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Zero {
    /// One number.
    All(f32),
    /// Bytes `[N, blocks]`.
    Each(BufferId),
}

/// A weight's byte, what is left of it to take (an operation and its right operand), its zero point, and the number it is
/// multiplied by.
type Product<'e> = (&'e Access, Option<(BinaryOp, i64)>, &'e Expr, &'e Access);

/// `(f32(byte) - zero) * number`, or that of some bits of the byte.
fn product(e: &Expr) -> Option<Product<'_>> {
    let Expr::Binary(BinaryOp::Mul, weight, number) = e else { return None };
    let (Expr::Binary(BinaryOp::Sub, weight, zero), Expr::Load(number)) = (&**weight, &**number) else {
        return None;
    };
    let Expr::Cast(DType::F32, part) = &**weight else { return None };
    let (byte, bits) = match &**part {
        Expr::Load(byte) => (byte, None),
        Expr::Binary(op, byte, by) => {
            let (Expr::Load(byte), Expr::Const(by)) = (&**byte, &**by) else { return None };
            (byte, Some((*op, by.to_i64())))
        }
        _ => return None,
    };
    Some((byte, bits, zero, number))
}

/// Whether results of a row lie in the last axis, wherever rows are.
fn leads_to(to: &Access, column: LoopId) -> bool {
    let affine: Option<Vec<&Affine>> = to.index.iter().map(Index::affine).collect();
    affine.is_some_and(|list| match list.split_last() {
        Some((last, others)) => {
            last.as_loop() == Some(column) && others.iter().all(|a| a.coefficient(column).is(0))
        }
        None => false,
    })
}

impl Packed {
    pub(super) fn of(program: &Program, kernel: &Kernel) -> Option<Self> {
        use BinaryOp::{Add, BitAnd, Mul, Shr};
        let Form::Reduce { op: ReduceOp::Sum, value: Expr::Binary(Mul, sum, scale), store } = &kernel.form
        else {
            return None;
        };
        let Expr::Load(scale) = &**scale else { return None };
        let (products, bits) = match &**sum {
            Expr::Binary(Add, low, high) => {
                (vec![product(low)?, product(high)?], vec![Some((BitAnd, 15)), Some((Shr, 4))])
            }
            one => (vec![product(one)?], vec![None]),
        };
        let [b, i] = kernel.loops_of(Role::Reduce)[..] else { return None };
        let parallel = kernel.loops_of(Role::Parallel);
        let (column, rows) = parallel.split_last()?;
        let constant = |buffer: BufferId| matches!(program.buffer(buffer).kind, BufferKind::Const(_));
        let (weights, _, zero, numbers) = products[0];
        let ty = &program.buffer(weights.buffer).ty;
        let [columns, blocks, bytes] = ty.shape.as_const()?[..] else { return None };
        let at = |part: usize| -> Vec<Index> {
            let rows = rows.iter().copied().map(Index::from);
            rows.chain([b.into(), Affine::constant(part as i64).into(), i.into()]).collect()
        };
        let alike =
            products.iter().zip(bits).enumerate().all(|(part, ((byte, taken, less, number), bits))| {
                *byte == weights
                    && *taken == bits
                    && *less == zero
                    && number.buffer == numbers.buffer
                    && number.index == at(part)
                    && number.otherwise.is_none()
            });
        let fits = alike
            && ty.dtype == DType::U8
            && program.buffer(numbers.buffer).ty.shape.rank() == rows.len() + 3
            && program.buffer(numbers.buffer).ty.shape[rows.len() + 1].is(products.len() as i64)
            && weights.as_loops()? == [*column, b, i]
            && constant(weights.buffer)
            && constant(scale.buffer)
            && leads_to(&store.to, *column);
        let zero = match zero {
            Expr::Const(zero) => Zero::All(zero.to_f64() as f32),
            Expr::Cast(DType::F32, zero) => match &**zero {
                Expr::Load(a) if program.buffer(a.buffer).ty.dtype == DType::U8 && constant(a.buffer) => {
                    (a.as_loops()? == [*column, b]).then_some(Zero::Each(a.buffer))?
                }
                _ => return None,
            },
            _ => return None,
        };
        fits.then(|| Self {
            weights: weights.buffer,
            scales: scale.buffer,
            numbers: numbers.buffer,
            parts: products.len(),
            zero,
            columns,
            blocks,
            bytes,
            rows: rows.to_vec(),
            column: *column,
        })
    }

    /// The product's rows, all of them.
    pub(super) fn count_of_rows(&self, kernel: &Kernel) -> i64 {
        let extents = self.rows.iter().map(|l| kernel.loop_(*l).extent.as_const());
        extents.fold(1, |n, extent| n.saturating_mul(extent.unwrap_or(i64::MAX)))
    }

    /// Whether weights are whole panels.
    pub(super) fn has_panels(&self) -> bool {
        self.columns.is_multiple_of(COLUMNS as usize)
            && self.columns > COLUMNS as usize
            && self.blocks > 1
            && self.bytes.is_multiple_of(GROUP)
            && (2 * GROUP..=MOST_BYTES).contains(&self.bytes)
    }
}
