//! Evaluation of expression graphs: which operation of the vector builder each node becomes, of one vector or of several
//! side by side.

use kiln_ir::DType;
use kiln_ir::kernel::BinaryOp;
use kiln_targets::math::replay;
use kiln_targets::simd::{Op1, Op2, R, Refusal, Simd, Src, V};

use super::typed;
use super::vexpr::{At, Dag, Node, Operand, VectorKind, function, is_function, lane, splat};

/// Registers that stay free when an element in every lane gets one: what an operation may take beside its operands.
const LEFT_FREE: usize = 2;

impl Dag {
    /// The value, when there is only one and it is a product: for fused multiply-add into an accumulator.
    pub(super) fn as_product<S: Simd>(&self, s: &mut S, at: &At<'_>) -> R<Option<(V, Operand)>> {
        let [root] = self.roots[..] else { return Ok(None) };
        let Node::Binary(BinaryOp::Mul, a, b) = self.nodes[root] else { return Ok(None) };
        let mut eval = Eval::new(self, std::slice::from_ref(at), None);
        let Some(a) = eval.reg(s, a)?.pop() else { return Ok(None) };
        let b = match self.nodes[b] {
            Node::Const(bits, kind) => Operand::constant(bits, kind),
            Node::Load(b) => at.load(s, b)?,
            _ => Operand::Reg(eval.reg(s, b)?.pop().ok_or_else(missing)?),
        };
        Ok(Some((a, b)))
    }

    /// All values, in registers that the caller frees. Consumes `acc`.
    pub(super) fn eval<S: Simd>(&self, s: &mut S, at: &At<'_>, acc: Option<V>) -> R<Vec<V>> {
        let values = self.eval_all(s, std::slice::from_ref(at), acc.map(|v| vec![v]))?;
        Ok(values.into_iter().flatten().collect())
    }

    /// All values at several places, by value and then by place.
    pub(super) fn eval_all<S: Simd>(&self, s: &mut S, at: &[At<'_>], acc: Option<Vec<V>>) -> R<Vec<Vec<V>>> {
        let mut eval = Eval::new(self, at, acc);
        let values = self.roots.iter().map(|root| eval.reg(s, *root)).collect::<R<Vec<_>>>()?;
        for held in eval.held.into_iter().flatten().flatten() {
            s.free(held);
        }
        Ok(values)
    }
}

fn missing() -> Refusal {
    Refusal::unsupported("a value that is gone before its last use")
}

/// The evaluation of all values at some places, each step at all of them before the next.
pub(super) struct Eval<'v> {
    pub(super) values: &'v Dag,
    at: &'v [At<'v>],
    /// Values that are needed again.
    pub(super) held: Vec<Option<Vec<V>>>,
    /// Uses still to come.
    pub(super) left: Vec<u32>,
}

impl<'v> Eval<'v> {
    fn new(values: &'v Dag, at: &'v [At<'v>], acc: Option<Vec<V>>) -> Self {
        let mut held: Vec<Option<Vec<V>>> = values.nodes.iter().map(|_| None).collect();
        match (values.nodes.iter().position(|n| *n == Node::Acc), acc) {
            (Some(i), acc) => held[i] = acc,
            // Nothing reads it: it is freed with the values held at the end.
            (None, Some(acc)) => held.push(Some(acc)),
            (None, None) => {}
        }
        Self { values, at, held, left: values.uses.clone() }
    }

    /// The node's values in registers of their own.
    pub(super) fn reg<S: Simd>(&mut self, s: &mut S, n: usize) -> R<Vec<V>> {
        match self.values.nodes[n] {
            Node::Const(bits, kind) => return self.at.iter().map(|_| splat(s, bits, kind)).collect(),
            Node::Load(a) => return self.at.iter().map(|at| at.load(s, a)?.into_reg(s, at.walk)).collect(),
            _ => {}
        }
        self.left[n] = self.left[n].saturating_sub(1);
        if let Some(v) = self.held[n].take() {
            if self.left[n] > 0 {
                let copy = copies(s, &v)?;
                self.held[n] = Some(v);
                return Ok(copy);
            }
            return Ok(v);
        }
        let v = self.compute(s, n)?;
        if self.left[n] > 0 {
            self.held[n] = Some(copies(s, &v)?);
        }
        Ok(v)
    }

    /// Does something at every place with the node's value as a second operand.
    pub(super) fn with_operand<S: Simd>(
        &mut self,
        s: &mut S,
        n: usize,
        each: &mut dyn FnMut(&mut S, usize, Src<'_>) -> R,
    ) -> R {
        let at = self.at;
        match self.values.nodes[n] {
            Node::Const(bits, kind) => {
                let operand = Operand::constant(bits, kind);
                at.iter().enumerate().try_for_each(|(i, at)| each(s, i, operand.src(at.walk)))
            }
            Node::Load(a) if at[0].is_splat(a) => {
                let mut operand = at[0].load(s, a)?;
                if at.len() > 1 && s.spare() > LEFT_FREE {
                    operand = Operand::Reg(operand.into_reg(s, at[0].walk)?);
                }
                at.iter().enumerate().try_for_each(|(i, at)| each(s, i, operand.src(at.walk)))?;
                operand.free(s);
                Ok(())
            }
            Node::Load(a) => at.iter().enumerate().try_for_each(|(i, at)| {
                let operand = at.load(s, a)?;
                each(s, i, operand.src(at.walk))?;
                operand.free(s);
                Ok(())
            }),
            _ => {
                let v = self.reg(s, n)?;
                v.iter().enumerate().try_for_each(|(i, v)| each(s, i, Src::Reg(v)))?;
                v.into_iter().for_each(|v| s.free(v));
                Ok(())
            }
        }
    }

    fn is_leaf(&self, n: usize) -> bool {
        matches!(self.values.nodes[n], Node::Const(..) | Node::Load(_))
    }

    fn op2<S: Simd>(&mut self, s: &mut S, op: Op2, a: usize, b: usize) -> R<Vec<V>> {
        let d = self.reg(s, a)?;
        self.with_operand(s, b, &mut |s, i, b| s.op2(op, &d[i], b))?;
        Ok(d)
    }

    fn compute<S: Simd>(&mut self, s: &mut S, n: usize) -> R<Vec<V>> {
        match self.values.nodes[n] {
            Node::Acc => Err(Refusal::unsupported("`acc` outside a reducing form")),
            Node::Const(..) | Node::Load(_) => self.reg(s, n),
            Node::Size(place) => self.at.iter().map(|at| at.walk.splat_size(s, place)).collect(),
            Node::Count(a) => self.at.iter().map(|at| at.count(s, a)).collect(),
            Node::Unary(op, a) => {
                let d = self.reg(s, a)?;
                match self.values.kinds[a] {
                    VectorKind::F32 | VectorKind::Mask { .. } => typed::of_f32(s, op, d),
                    VectorKind::Number(dtype) => typed::unary(s, op, dtype, d),
                }
            }
            Node::Binary(op, a, b)
                if let VectorKind::Number(dtype) = self.values.kinds[a]
                    && is_function(op, dtype) =>
            {
                let operands = vec![self.reg(s, a)?, self.reg(s, b)?];
                let d = replay::emit(s, function(op, dtype), lane(dtype), operands)?;
                d.iter().try_for_each(|d| typed::round(s, dtype, d))?;
                Ok(d)
            }
            Node::Binary(BinaryOp::Shr, a, b) if let Some(by) = self.shift(a, b) => {
                let d = self.reg(s, a)?;
                d.iter().try_for_each(|d| s.op1(by, d))?;
                Ok(d)
            }
            Node::Binary(op, a, b) => match self.values.kinds[a] {
                VectorKind::F32 => self.binary(s, op, a, b),
                VectorKind::Number(dtype @ (DType::F16 | DType::BF16)) => {
                    let d = self.binary(s, op, a, b)?;
                    if !matches!(op, BinaryOp::Eq | BinaryOp::Lt | BinaryOp::Le) {
                        d.iter().try_for_each(|d| typed::round(s, dtype, d))?;
                    }
                    Ok(d)
                }
                VectorKind::Number(dtype) => {
                    let op2 = typed::binary(op, dtype)?;
                    let (a, b) = if typed::commutes(op) && self.is_leaf(a) { (b, a) } else { (a, b) };
                    let d = self.reg(s, a)?;
                    self.with_operand(s, b, &mut |s, i, b| s.op2_as(lane(dtype), op2, &d[i], b))?;
                    if typed::leaves_range(op) {
                        d.iter().try_for_each(|d| typed::round(s, dtype, d))?;
                    }
                    Ok(d)
                }
                VectorKind::Mask { .. } => {
                    let d = self.reg(s, a)?;
                    self.with_operand(s, b, &mut |s, i, b| typed::of_masks(s, op, &d[i], b))?;
                    Ok(d)
                }
            },
            Node::MulAdd(a, b, c) => {
                if !s.fuses() {
                    return Err(Refusal::unsupported("a multiply-add that rounds once"));
                }
                // The last first: what waits for it is in a register anyway.
                let a = self.reg(s, a)?;
                let d = self.reg(s, c)?;
                self.with_operand(s, b, &mut |s, i, b| s.fma(&d[i], &a[i], b))?;
                a.into_iter().for_each(|a| s.free(a));
                Ok(d)
            }
            Node::Select(c, a, b) => {
                let mask = self.reg(s, c)?;
                let d = self.reg(s, a)?;
                self.with_operand(s, b, &mut |s, i, b| s.keep_where(&d[i], &mask[i], b))?;
                mask.into_iter().for_each(|mask| s.free(mask));
                Ok(d)
            }
            Node::Bits(to, a) => {
                let d = self.reg(s, a)?;
                d.iter().try_for_each(|d| typed::bits_of(s, self.values.kinds[a], to, d))?;
                Ok(d)
            }
            Node::Cast(to, a) => {
                if let Some(d) = self.quantized(s, n)? {
                    return Ok(d);
                }
                if let Some(d) = self.quantized_by_computed(s, to, a)? {
                    return Ok(d);
                }
                let d = self.reg(s, a)?;
                d.iter().try_for_each(|d| typed::cast(s, self.values.kinds[a], to, d))?;
                Ok(d)
            }
        }
    }

    /// A shift to the right of lanes of 32 bits by a constant count.
    fn shift(&self, a: usize, count: usize) -> Option<Op1> {
        let (Node::Const(count, _), VectorKind::Number(ty)) =
            (&self.values.nodes[count], self.values.kinds[a])
        else {
            return None;
        };
        let by = u8::try_from(*count)
            .ok()
            .filter(|n| ty.is_int() && ty.size() <= 4 && usize::from(*n) < ty.bits())?;
        Some(if ty.is_signed_int() { Op1::Sar(by) } else { Op1::Shr(by) })
    }

    fn binary<S: Simd>(&mut self, s: &mut S, op: BinaryOp, a: usize, b: usize) -> R<Vec<V>> {
        // Of commutative operations the operand in memory comes second.
        let (a, b) = match op {
            BinaryOp::Add | BinaryOp::Mul | BinaryOp::Min | BinaryOp::Max if self.is_leaf(a) => (b, a),
            _ => (a, b),
        };
        let op = match op {
            BinaryOp::Add => {
                for (product, addend) in [(a, b), (b, a)] {
                    if let Some(d) = self.multiply_add(s, product, addend)? {
                        return Ok(d);
                    }
                }
                Op2::Add
            }
            BinaryOp::Sub => Op2::Sub,
            BinaryOp::Mul => Op2::Mul,
            BinaryOp::Div => match self.values.nodes[b] {
                // Exact for powers of two only.
                Node::Const(bits, _) if is_power_of_two(f32::from_bits(bits as u32)) => {
                    let d = self.reg(s, a)?;
                    let factor = Src::Const(1.0 / f32::from_bits(bits as u32));
                    d.iter().try_for_each(|d| s.op2(Op2::Mul, d, factor))?;
                    return Ok(d);
                }
                _ => Op2::Div,
            },
            BinaryOp::Min | BinaryOp::Max => {
                let number = matches!(self.values.nodes[b], Node::Const(bits, _) if !f32::from_bits(bits as u32).is_nan());
                match (op, number) {
                    (BinaryOp::Min, true) => Op2::Min,
                    (BinaryOp::Min, false) => Op2::MinNan,
                    (_, true) => Op2::Max,
                    (_, false) => Op2::MaxNan,
                }
            }
            BinaryOp::Eq => Op2::Eq,
            BinaryOp::Lt => Op2::Lt,
            BinaryOp::Le => Op2::Le,
            _ => return Err(Refusal::unsupported(format!("{op:?} in vectors"))),
        };
        self.op2(s, op, a, b)
    }

    /// `product + addend` in one operation, when nothing else needs the product.
    fn multiply_add<S: Simd>(&mut self, s: &mut S, product: usize, addend: usize) -> R<Option<Vec<V>>> {
        let Node::Binary(BinaryOp::Mul, a, b) = self.values.nodes[product] else { return Ok(None) };
        // Of f32 only: shorter floats are rounded in between, and wider ones compared more closely.
        if self.values.kinds[product] != VectorKind::F32 {
            return Ok(None);
        }
        // What was an integer may become one again, where one digit decides.
        let integer = |n: usize| match self.values.nodes[n] {
            Node::Cast(_, of) => matches!(self.values.kinds[of], VectorKind::Number(ty) if ty.is_int()),
            _ => false,
        };
        if self.values.rounds_products || integer(a) || integer(b) {
            return Ok(None);
        }
        if self.left[product] != 1 || self.held[product].is_some() || product == addend {
            return Ok(None);
        }
        self.left[product] = 0;
        let (a, b) = if self.is_leaf(a) { (b, a) } else { (a, b) };
        let d = self.reg(s, addend)?;
        let a = self.reg(s, a)?;
        self.with_operand(s, b, &mut |s, i, b| s.fma(&d[i], &a[i], b))?;
        a.into_iter().for_each(|a| s.free(a));
        Ok(Some(d))
    }
}

fn copies<S: Simd>(s: &mut S, values: &[V]) -> R<Vec<V>> {
    values.iter().map(|v| s.copy(v)).collect()
}

fn is_power_of_two(value: f32) -> bool {
    value.is_normal() && value.to_bits() & 0x007f_ffff == 0 && (1.0 / value).is_normal()
}
