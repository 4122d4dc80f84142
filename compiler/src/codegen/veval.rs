//! Evaluation of expression graphs: which operation of the vector builder each node becomes.

use kiln_ir::DType;
use kiln_ir::kernel::BinaryOp;
use kiln_targets::math::tape;
use kiln_targets::simd::{Op2, R, Refusal, Simd, Src, V};

use super::typed;
use super::vexpr::{At, Dag, Node, Operand, VectorKind, function, is_function, lane, splat};

impl Dag {
    /// The value, when there is only one and it is a product: for fused multiply-add into an accumulator.
    pub(super) fn as_product<S: Simd>(&self, s: &mut S, at: &At<'_>) -> R<Option<(V, Operand)>> {
        let [root] = self.roots[..] else { return Ok(None) };
        let Node::Binary(BinaryOp::Mul, a, b) = self.nodes[root] else { return Ok(None) };
        let mut eval = Eval::new(self, at, None);
        let a = eval.reg(s, a)?;
        let b = eval.operand(s, b)?;
        Ok(Some((a, b)))
    }

    /// All values, in registers that the caller frees. Consumes `acc`.
    pub(super) fn eval<S: Simd>(&self, s: &mut S, at: &At<'_>, acc: Option<V>) -> R<Vec<V>> {
        let mut eval = Eval::new(self, at, acc);
        let values = self.roots.iter().map(|root| eval.reg(s, *root)).collect::<R<Vec<_>>>()?;
        for held in eval.held.into_iter().flatten() {
            s.free(held);
        }
        Ok(values)
    }
}

/// The evaluation of all values at one place.
pub(super) struct Eval<'v> {
    values: &'v Dag,
    at: &'v At<'v>,
    /// Values that are needed again.
    pub(super) held: Vec<Option<V>>,
    /// Uses still to come.
    left: Vec<u32>,
}

impl<'v> Eval<'v> {
    pub(super) fn new(values: &'v Dag, at: &'v At<'v>, acc: Option<V>) -> Self {
        let mut held: Vec<Option<V>> = values.nodes.iter().map(|_| None).collect();
        match (values.nodes.iter().position(|n| *n == Node::Acc), acc) {
            (Some(i), acc) => held[i] = acc,
            // Nothing reads it: it is freed with the values held at the end.
            (None, Some(acc)) => held.push(Some(acc)),
            (None, None) => {}
        }
        Self { values, at, held, left: values.uses.clone() }
    }

    /// The node's value in a register of its own.
    pub(super) fn reg<S: Simd>(&mut self, s: &mut S, n: usize) -> R<V> {
        match self.values.nodes[n] {
            Node::Const(bits, kind) => return splat(s, bits, kind),
            Node::Load(a) => return self.at.load(s, a)?.into_reg(s, self.at.walk),
            _ => {}
        }
        self.left[n] = self.left[n].saturating_sub(1);
        if let Some(v) = self.held[n].take() {
            if self.left[n] > 0 {
                let copy = s.copy(&v)?;
                self.held[n] = Some(v);
                return Ok(copy);
            }
            return Ok(v);
        }
        let v = self.compute(s, n)?;
        if self.left[n] > 0 {
            self.held[n] = Some(s.copy(&v)?);
        }
        Ok(v)
    }

    pub(super) fn operand<S: Simd>(&mut self, s: &mut S, n: usize) -> R<Operand> {
        match self.values.nodes[n] {
            Node::Const(bits, kind) => Ok(Operand::constant(bits, kind)),
            Node::Load(a) => self.at.load(s, a),
            _ => Ok(Operand::Reg(self.reg(s, n)?)),
        }
    }

    fn is_leaf(&self, n: usize) -> bool {
        matches!(self.values.nodes[n], Node::Const(..) | Node::Load(_))
    }

    fn op2<S: Simd>(&mut self, s: &mut S, op: Op2, a: usize, b: usize) -> R<V> {
        let d = self.reg(s, a)?;
        let operand = self.operand(s, b)?;
        s.op2(op, &d, operand.src(self.at.walk))?;
        operand.free(s);
        Ok(d)
    }

    fn compute<S: Simd>(&mut self, s: &mut S, n: usize) -> R<V> {
        match self.values.nodes[n] {
            Node::Acc => Err(Refusal::unsupported("`acc` outside a reducing form")),
            Node::Const(..) | Node::Load(_) => self.reg(s, n),
            Node::Count(a) => self.at.count(s, a),
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
                let d = tape::emit(s, function(op, dtype), lane(dtype), operands)?;
                typed::round(s, dtype, &d)?;
                Ok(d)
            }
            Node::Binary(op, a, b) => match self.values.kinds[a] {
                VectorKind::F32 => self.binary(s, op, a, b),
                VectorKind::Number(dtype @ (DType::F16 | DType::BF16)) => {
                    let d = self.binary(s, op, a, b)?;
                    if !matches!(op, BinaryOp::Eq | BinaryOp::Lt | BinaryOp::Le) {
                        typed::round(s, dtype, &d)?;
                    }
                    Ok(d)
                }
                VectorKind::Number(dtype) => {
                    let op2 = typed::binary(op, dtype)?;
                    let (a, b) = if typed::commutes(op) && self.is_leaf(a) { (b, a) } else { (a, b) };
                    let d = self.reg(s, a)?;
                    let operand = self.operand(s, b)?;
                    s.op2_as(lane(dtype), op2, &d, operand.src(self.at.walk))?;
                    operand.free(s);
                    if typed::leaves_range(op) {
                        typed::round(s, dtype, &d)?;
                    }
                    Ok(d)
                }
                VectorKind::Mask { .. } => {
                    let d = self.reg(s, a)?;
                    let operand = self.operand(s, b)?;
                    typed::of_masks(s, op, &d, operand.src(self.at.walk))?;
                    operand.free(s);
                    Ok(d)
                }
            },
            Node::Select(c, a, b) => {
                let mask = self.reg(s, c)?;
                let d = self.reg(s, a)?;
                let operand = self.operand(s, b)?;
                s.keep_where(&d, &mask, operand.src(self.at.walk))?;
                operand.free(s);
                s.free(mask);
                Ok(d)
            }
            Node::Cast(to, a) => {
                let d = self.reg(s, a)?;
                typed::cast(s, self.values.kinds[a], to, &d)?;
                Ok(d)
            }
        }
    }

    fn binary<S: Simd>(&mut self, s: &mut S, op: BinaryOp, a: usize, b: usize) -> R<V> {
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
                    s.op2(Op2::Mul, &d, Src::Const(1.0 / f32::from_bits(bits as u32)))?;
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
    fn multiply_add<S: Simd>(&mut self, s: &mut S, product: usize, addend: usize) -> R<Option<V>> {
        let Node::Binary(BinaryOp::Mul, a, b) = self.values.nodes[product] else { return Ok(None) };
        // Of f32 only: shorter floats are rounded in between, and wider ones compared more closely.
        if self.values.kinds[product] != VectorKind::F32 {
            return Ok(None);
        }
        if self.left[product] != 1 || self.held[product].is_some() || product == addend {
            return Ok(None);
        }
        self.left[product] = 0;
        let (a, b) = if self.is_leaf(a) { (b, a) } else { (a, b) };
        let d = self.reg(s, addend)?;
        let a = self.reg(s, a)?;
        let b = self.operand(s, b)?;
        s.fma(&d, &a, b.src(self.at.walk))?;
        b.free(s);
        s.free(a);
        Ok(Some(d))
    }
}

fn is_power_of_two(value: f32) -> bool {
    value.is_normal() && value.to_bits() & 0x007f_ffff == 0 && (1.0 / value).is_normal()
}
