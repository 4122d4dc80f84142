//! Factors of exact sums over products of quantised numbers.
//!
//! ```text
//! sum of (x - zx) * (w - zw) = sum of x * w' - zx * (sum of w')      where w' = w - zw
//! ```
//!
//! in integers of 32 bits, which wrap. So zero points of one factor are subtracted from its elements, which costs nothing
//! where they are constants, and those of the other are a term for each result: a constant one too, where all are known.
//! `w'` has the shortest type that holds its elements: 8 bits for weights of u8 around 128.

use super::broadcast;
use super::nest::{NestBuilder, add, indices, mul, sub, zero};
use super::quantization::{is_zero, single};
use super::values::{from_i128s, to_i128s};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, BufferId, Expr, Form, Index, Lowering, ReduceOp, Scalar, Store};
use crate::numerics::{Number, int_range};
use crate::op::Fact;
use crate::tensor::Tensor;
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// An operand with its zero points, which are one for all, or one for each position of `axis`, as a vector or as a tensor
/// with the operand's axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    /// Its number among the inputs.
    pub(super) input: usize,
    /// That of its zero points.
    pub(super) zeros: usize,
    /// The axis that may have zero points of its own.
    pub(super) axis: usize,
    /// The axis that products are summed along, of zero points with the operand's axes.
    pub(super) summed: usize,
}

impl Factor {
    /// Checks the types, and that zero points fit.
    pub(super) fn check(&self, inputs: &[Option<&Fact>]) -> Result<()> {
        let x = super::operand::fact(inputs, self.input)?;
        if !matches!(x.dtype, DType::U8 | DType::I8) {
            if crate::numerics::small_float(x.dtype, 0).is_some() {
                bail_unsupported!("operands of type {} are not supported", x.dtype);
            }
            bail_invalid!("operands must be u8 or i8, found {}", x.dtype);
        }
        let Some(zeros) = inputs.get(self.zeros).copied().flatten() else { return Ok(()) };
        if zeros.dtype != x.dtype {
            bail_invalid!("zero points of {} must have its type, found {}", x.ty(), zeros.dtype);
        }
        self.check_shape("zero points", &x.shape, &zeros.shape)
    }

    /// Demands the shape of zero points or scales.
    pub(super) fn check_shape(&self, what: &str, x: &Shape, own: &Shape) -> Result<()> {
        let fits = match own.rank() {
            _ if single(own) => true,
            1 => self.axis != self.summed && x.rank() > self.axis && own[0] == x[self.axis],
            rank if rank == x.rank() => {
                own.iter().zip(x.iter()).enumerate().all(|(i, (d, e))| d.is(1) || d == e && i != self.summed)
            }
            _ => false,
        };
        if !fits {
            bail_invalid!("{what} of shape {own} do not fit an operand of shape {x}");
        }
        Ok(())
    }

    /// By axis of the zero points that of the operand; `None` where they stand still.
    fn axes(&self, own: &Shape) -> Vec<Option<usize>> {
        match own.rank() {
            _ if own.iter().all(|d| d.is(1)) => vec![None; own.rank()],
            1 => vec![Some(self.axis)],
            _ => own.iter().enumerate().map(|(i, d)| (!d.is(1)).then_some(i)).collect(),
        }
    }

    /// The shape of zero points, or scales, so that they broadcast over an operand of `rank` axes.
    pub(super) fn aligned(&self, rank: usize, own: &[usize]) -> Vec<usize> {
        let mut shape = own.to_vec();
        if own.len() == 1 && own[0] != 1 {
            shape.resize(rank - self.axis, 1);
        }
        shape
    }

    /// The elements less their zero points, as tensors.
    pub(super) fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Tensor> {
        let x = super::operand::tensor(inputs, self.input)?;
        let Some(zeros) = inputs.get(self.zeros).copied().flatten() else {
            return from_i128s(DType::I32, &x.shape, to_i128s(x)?);
        };
        let zeros = zeros.reshaped(&self.aligned(x.shape.len(), &zeros.shape))?;
        let less = |v: &[Number]| Number::Int(v[0].int() - v[1].int());
        broadcast::map(DType::I32, &[x, &zeros], less)?.reshaped(&x.shape)
    }

    /// What is known of the zero points.
    fn zeros_of<'a>(&self, cx: &'a Lowering<'_>) -> Option<&'a Fact> {
        cx.has_input(self.zeros).then(|| cx.fact(self.zeros).ok()).flatten()
    }

    /// Whether the zero points are known to be 0.
    pub(super) fn is_symmetric(&self, cx: &Lowering<'_>) -> bool {
        is_zero(self.zeros_of(cx))
    }

    /// The only zero point, where it is known.
    pub(super) fn known_zero(&self, cx: &Lowering<'_>) -> Result<Option<i64>> {
        let Some(fact) = self.zeros_of(cx) else { return Ok(Some(0)) };
        match fact.tensor() {
            Some(t) if t.elements() == 1 => Ok(t.to_i64s()?.first().copied()),
            _ => Ok(None),
        }
    }

    /// The zero point that belongs to an element of the operand, as i32.
    pub(super) fn zero(&self, cx: &Lowering<'_>, element: &[Index]) -> Result<Expr> {
        let shape = &cx.fact(self.zeros)?.shape;
        if shape.iter().all(|d| d.is(1)) {
            return Ok(match self.known_zero(cx)? {
                Some(z) => Expr::Const(Scalar::int(DType::I32, z)),
                None => Expr::cast(DType::I32, cx.scalar(self.zeros)?),
            });
        }
        let index =
            self.axes(shape).into_iter().map(|a| a.map_or_else(zero, |a| element[a].clone())).collect();
        Ok(Expr::cast(DType::I32, Expr::Load(Access::new(cx.input(self.zeros)?, index))))
    }

    /// The elements less their zero points. `wide`: the type that kernels want, where they take no shorter one.
    pub(super) fn centred(&self, cx: &mut Lowering<'_>, wide: Option<DType>) -> Result<Centred> {
        let fact = cx.fact(self.input)?.clone();
        let symmetric = self.is_symmetric(cx);
        if symmetric && wide.is_none() {
            return Ok(Centred { buffer: cx.input(self.input)?, known: fact.tensor().cloned(), fact });
        }
        let zeros = self.zeros_of(cx).map(|f| f.tensor().cloned());
        if let (Some(x), None | Some(Some(_))) = (fact.tensor(), &zeros) {
            let mut inputs: Vec<Option<&Tensor>> = vec![None; self.input.max(self.zeros) + 1];
            inputs[self.input] = Some(x);
            inputs[self.zeros] = zeros.as_ref().and_then(Option::as_ref);
            let less = self.eval(&inputs)?;
            let dtype = match wide {
                Some(wide) => wide,
                None => shortest(&less)?,
            };
            let tensor = broadcast::map(dtype, &[&less], |v| v[0])?;
            let fact = Fact::of(&tensor);
            let buffer = cx.constant("centred", tensor.clone());
            return Ok(Centred { buffer, known: Some(tensor), fact });
        }
        let dtype = wide.unwrap_or(DType::I16);
        let buffer = cx.temp("centred", dtype, fact.shape.clone());
        let (loops, ids) = Lowering::loops_over(&fact.shape);
        let at = indices(&ids);
        let element = Expr::cast(DType::I32, Expr::Load(Access::new(cx.input(self.input)?, at.clone())));
        let less = match symmetric {
            true => element,
            false => sub(element, self.zero(cx, &at)?),
        };
        let store = Store { to: Access::new(buffer, at), value: Expr::cast(dtype, less) };
        cx.emit(loops, Form::Map { stores: vec![store] });
        Ok(Centred { buffer, known: None, fact: Fact::new(dtype, fact.shape) })
    }
}

/// Products of two differences of bytes whose sum f32 holds exactly.
const EXACT_PRODUCTS: i64 = (1 << 24) / (255 * 255);

/// The type in which machines add so many products of differences of bytes fastest, each of them exactly: what has vectors for
/// factors that are both computed at run time.
pub(super) fn exact_type(products: &Dim) -> DType {
    if products.as_const().is_some_and(|n| n <= EXACT_PRODUCTS) { DType::F32 } else { DType::I32 }
}

/// The shortest of the types that products are made of.
fn shortest(tensor: &Tensor) -> Result<DType> {
    let values = to_i128s(tensor)?;
    let holds = |dtype: DType| {
        let (lo, hi) = int_range(dtype);
        values.iter().all(|v| (lo..=hi).contains(v))
    };
    let found = [DType::I8, DType::U8, DType::I16].into_iter().find(|t| holds(*t));
    found.ok_or_else(|| Error::internal("a difference of 8-bit numbers beyond 16 bits"))
}

/// A factor without zero points.
pub(super) struct Centred {
    /// Where it is.
    pub(super) buffer: BufferId,
    /// Its elements, where they are constants.
    known: Option<Tensor>,
    /// Its type.
    pub(super) fact: Fact,
}

/// The terms that belong to the zero points of the other factor.
pub(super) enum Terms {
    /// One zero point that is known: what is added to a sum, as i32 with the kept axes.
    Added(BufferId),
    /// Sums, as i32 with the kept axes: times the zero point they are subtracted.
    Sums(BufferId),
}

impl Terms {
    /// The sum of products of one factor less its zero points, given that of the factor as it lies. `index`: the element of
    /// the terms; `zero`: the zero point.
    pub(super) fn corrected(&self, index: Vec<Index>, zero: Expr) -> Expr {
        match *self {
            Self::Added(terms) => add(Expr::Acc, Expr::Load(Access::new(terms, index))),
            Self::Sums(sums) => sub(Expr::Acc, mul(zero, Expr::Load(Access::new(sums, index)))),
        }
    }
}

impl Centred {
    /// What corrects sums of products with the elements of `other` as they lie: a term for each position of the axes
    /// `kept`, of sums along all others.
    pub(super) fn terms(&self, cx: &mut Lowering<'_>, other: &Factor, kept: &[usize]) -> Result<Terms> {
        match other.known_zero(cx)? {
            Some(zero) => self.sums(cx, kept, Some(-zero)).map(Terms::Added),
            None => self.sums(cx, kept, None).map(Terms::Sums),
        }
    }

    /// A tensor of i32 with the axes `kept`: the sums along all others, times a factor.
    fn sums(&self, cx: &mut Lowering<'_>, kept: &[usize], times: Option<i64>) -> Result<BufferId> {
        let shape: Shape = kept.iter().map(|a| self.fact.shape[*a].clone()).collect();
        if let Some(tensor) = &self.known {
            let own = shape.as_const().ok_or_else(|| Error::internal("a constant with open extents"))?;
            let (from, to) = (crate::tensor::row_major(&tensor.shape), crate::tensor::row_major(&own));
            let mut sums = vec![0i128; own.iter().product()];
            for (i, v) in to_i128s(tensor)?.into_iter().enumerate() {
                let at =
                    kept.iter().zip(&to).map(|(a, s)| i / from[*a] % tensor.shape[*a] * s).sum::<usize>();
                sums[at] += v * i128::from(times.unwrap_or(1));
            }
            return Ok(cx.constant("sums", from_i128s(DType::I32, &own, sums)?));
        }
        let reduced: Vec<bool> = (0..self.fact.shape.rank()).map(|a| !kept.contains(&a)).collect();
        let (nest, ids) = NestBuilder::over(&self.fact.shape, &reduced);
        let to = cx.temp("sums", DType::I32, shape);
        let index = kept.iter().map(|a| ids[*a].into()).collect();
        let value = Expr::cast(DType::I32, Expr::Load(Access::new(self.buffer, indices(&ids))));
        let value_of_sum = match times {
            Some(n) => mul(Expr::Acc, Expr::Const(Scalar::int(DType::I32, n))),
            None => Expr::Acc,
        };
        let store = Store { to: Access::new(to, index), value: value_of_sum };
        cx.emit(nest.loops, Form::Reduce { op: ReduceOp::Sum, value, store });
        Ok(to)
    }
}
