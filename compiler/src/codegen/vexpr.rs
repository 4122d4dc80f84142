//! Expressions in f32 vectors: bodies and epilogues of the vector generators.
//!
//! Trees are turned into graphs first, so that a value used twice is computed once. Constants and elements in
//! memory are operands of the operation that uses them. A bool is a mask: all ones or 0 per lane.

use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{BinaryOp, Expr, Scalar, UnaryOp};
use kiln_ir::types::DType;
use kiln_targets::simd::{Op1, Op2, Parked, R, Refusal, Simd, Src, V};
use kiln_targets::vecmath;

use super::walk::{AccessId, ELEMENT, Walk};

/// What a node of an expression is in a vector register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Mask,
}

/// Whether the vector generators compute this expression: f32 throughout, bools as masks in between, no
/// gathers, constant strides. Strides along the vector are checked by the generators.
pub fn supported(expr: &Expr<FlatAccess>) -> bool {
    kind(expr) == Some(Kind::Number)
}

fn kind(expr: &Expr<FlatAccess>) -> Option<Kind> {
    let all = |operands: &[&Expr<FlatAccess>], k: Kind| operands.iter().all(|e| kind(e) == Some(k));
    match expr {
        Expr::Acc => Some(Kind::Number),
        Expr::Const(scalar) => match scalar.dtype {
            DType::F32 => Some(Kind::Number),
            DType::Bool => Some(Kind::Mask),
            _ => None,
        },
        Expr::Load(a) => {
            let constant = a.offset.as_const().is_some() && a.strides.iter().all(|d| d.as_const().is_some());
            (a.dtype == DType::F32 && a.gathers.is_empty() && constant).then_some(Kind::Number)
        }
        Expr::Loop(_) => None,
        Expr::Unary(UnaryOp::Not, a) => all(&[a], Kind::Mask).then_some(Kind::Mask),
        Expr::Unary(op, a) => {
            let result = match op {
                UnaryOp::IsNan | UnaryOp::IsInf => Kind::Mask,
                UnaryOp::BitNot
                | UnaryOp::Tan
                | UnaryOp::Asin
                | UnaryOp::Acos
                | UnaryOp::Atan
                | UnaryOp::Sinh
                | UnaryOp::Cosh
                | UnaryOp::Asinh
                | UnaryOp::Acosh
                | UnaryOp::Atanh => return None,
                _ => Kind::Number,
            };
            all(&[a], Kind::Number).then_some(result)
        }
        Expr::Binary(op, a, b) => match op {
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Min | BinaryOp::Max => {
                all(&[a, b], Kind::Number).then_some(Kind::Number)
            }
            BinaryOp::Pow => (all(&[a], Kind::Number) && power(b).is_some()).then_some(Kind::Number),
            BinaryOp::Eq | BinaryOp::Lt | BinaryOp::Le => all(&[a, b], Kind::Number).then_some(Kind::Mask),
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => all(&[a, b], Kind::Mask).then_some(Kind::Mask),
            _ => None,
        },
        Expr::Select(c, a, b) => {
            let result = kind(a)?;
            (all(&[c], Kind::Mask) && kind(b) == Some(result)).then_some(result)
        }
        Expr::Cast(DType::F32, a) => kind(a).map(|_| Kind::Number),
        Expr::Cast(..) => None,
    }
}

/// Exponents that are a few products.
fn power(exponent: &Expr<FlatAccess>) -> Option<i32> {
    match exponent {
        Expr::Const(Scalar { dtype: DType::F32, bits }) => {
            let value = f32::from_bits(*bits as u32);
            [1, 2, 3, 4, -1].into_iter().find(|n| *n as f32 == value)
        }
        _ => None,
    }
}

/// An operation of the graph; operands are positions of earlier nodes.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Acc,
    /// By its bits, so that NaN equals itself.
    Const(u32),
    Load(AccessId),
    Unary(UnaryOp, usize),
    Binary(BinaryOp, usize, usize),
    Select(usize, usize, usize),
    /// 1 where the mask is set, else 0.
    MaskToNumber(usize),
}

/// Expressions with shared parts.
pub(super) struct Values {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    uses: Vec<u32>,
    loads: Vec<(FlatAccess, AccessId)>,
}

/// An accumulator whose epilogue is still to come.
pub(super) enum Waiting {
    Here(V),
    Parked(Parked),
}

impl Waiting {
    /// In a register.
    pub(super) fn fetch<S: Simd>(self, s: &mut S) -> R<V> {
        match self {
            Self::Here(v) => Ok(v),
            Self::Parked(parked) => s.unpark(parked),
        }
    }
}

/// Where values are computed: the current iteration plus `ahead`, lanes along `lane`, the first `n` of them.
pub(super) struct At<'a> {
    pub(super) walk: &'a Walk,
    pub(super) lane: LoopId,
    pub(super) ahead: &'a [(LoopId, i64)],
    pub(super) n: usize,
}

/// An operand that may still be in memory.
pub(super) enum Operand {
    Reg(V),
    Const(f32),
    Mem(AccessId, i32),
    Splat(AccessId, i32),
}

impl Operand {
    /// As an operation's second operand.
    pub(super) fn src<'a>(&'a self, walk: &'a Walk) -> Src<'a> {
        match self {
            Self::Reg(v) => Src::Reg(v),
            Self::Const(value) => Src::Const(*value),
            Self::Mem(a, disp) => Src::Mem(walk.ptr(*a), *disp),
            Self::Splat(a, disp) => Src::Splat(walk.ptr(*a), *disp),
        }
    }

    /// In a register.
    pub(super) fn into_reg<S: Simd>(self, s: &mut S, walk: &Walk) -> R<V> {
        match self {
            Self::Reg(v) => Ok(v),
            Self::Const(value) => s.splat(value),
            Self::Mem(a, disp) => {
                let lanes = s.lanes();
                s.load(walk.ptr(a), disp, lanes)
            }
            Self::Splat(a, disp) => s.load_splat(walk.ptr(a), disp),
        }
    }

    /// Gives its register back.
    pub(super) fn free<S: Simd>(self, s: &mut S) {
        if let Self::Reg(v) = self {
            s.free(v);
        }
    }
}

impl At<'_> {
    /// An element per lane.
    pub(super) fn load<S: Simd>(&self, s: &mut S, a: AccessId) -> R<Operand> {
        if let Some(otherwise) = self.walk.outside(a)? {
            return Ok(Operand::Const(otherwise));
        }
        let disp = self.walk.disp(a, self.ahead, 0)?;
        match self.walk.stride(a, self.lane) {
            0 => Ok(Operand::Splat(a, disp)),
            ELEMENT if self.n == s.lanes() => Ok(Operand::Mem(a, disp)),
            ELEMENT => Ok(Operand::Reg(s.load(self.walk.ptr(a), disp, self.n)?)),
            _ => Err(Refusal::unsupported("a stride along the vector that is neither 0 nor 1")),
        }
    }

    /// Writes the lanes; a single element where the access does not move along the lanes.
    pub(super) fn store<S: Simd>(&self, s: &mut S, a: AccessId, v: &V) -> R {
        let disp = self.walk.disp(a, self.ahead, 0)?;
        let n = if self.walk.stride(a, self.lane) == 0 { 1 } else { self.n };
        s.store(self.walk.ptr(a), disp, v, n)
    }
}

impl Values {
    /// Registers the expressions' loads and finds what they share.
    pub(super) fn new<'e>(walk: &mut Walk, exprs: impl IntoIterator<Item = &'e Expr<FlatAccess>>) -> R<Self> {
        let mut this = Self { nodes: Vec::new(), roots: Vec::new(), uses: Vec::new(), loads: Vec::new() };
        for expr in exprs {
            let root = this.add(walk, expr)?;
            this.uses[root] += 1;
            this.roots.push(root);
        }
        Ok(this)
    }

    fn add(&mut self, walk: &mut Walk, expr: &Expr<FlatAccess>) -> R<usize> {
        let node = match expr {
            Expr::Acc => Node::Acc,
            Expr::Const(scalar) if scalar.dtype == DType::Bool => {
                Node::Const(if scalar.bits != 0 { u32::MAX } else { 0 })
            }
            Expr::Const(scalar) if scalar.dtype == DType::F32 => Node::Const(scalar.bits as u32),
            Expr::Load(access) => {
                let known = self.loads.iter().find(|(other, _)| other == access).map(|(_, id)| *id);
                let id = match known {
                    Some(id) => id,
                    None => {
                        let id = walk.access(access)?;
                        self.loads.push((access.clone(), id));
                        id
                    }
                };
                Node::Load(id)
            }
            Expr::Binary(BinaryOp::Pow, base, exponent) => {
                let n = power(exponent).ok_or_else(|| Refusal::unsupported("a power in vectors"))?;
                let base = self.add(walk, base)?;
                return Ok(self.power(base, n));
            }
            Expr::Unary(op, a) => Node::Unary(*op, self.add(walk, a)?),
            Expr::Binary(op, a, b) => Node::Binary(*op, self.add(walk, a)?, self.add(walk, b)?),
            Expr::Select(c, a, b) => Node::Select(self.add(walk, c)?, self.add(walk, a)?, self.add(walk, b)?),
            Expr::Cast(DType::F32, a) => match kind(a) {
                Some(Kind::Mask) => Node::MaskToNumber(self.add(walk, a)?),
                _ => return self.add(walk, a),
            },
            _ => return Err(Refusal::unsupported(format!("expression in vectors: {expr:?}"))),
        };
        Ok(self.node(node))
    }

    fn node(&mut self, node: Node) -> usize {
        if let Some(known) = self.nodes.iter().position(|other| *other == node) {
            return known;
        }
        match &node {
            Node::Acc | Node::Const(_) | Node::Load(_) => {}
            Node::Unary(_, a) | Node::MaskToNumber(a) => self.uses[*a] += 1,
            Node::Binary(_, a, b) => {
                self.uses[*a] += 1;
                self.uses[*b] += 1;
            }
            Node::Select(c, a, b) => {
                for operand in [c, a, b] {
                    self.uses[*operand] += 1;
                }
            }
        }
        self.nodes.push(node);
        self.uses.push(0);
        self.nodes.len() - 1
    }

    fn power(&mut self, base: usize, n: i32) -> usize {
        let times = |this: &mut Self, a, b| this.node(Node::Binary(BinaryOp::Mul, a, b));
        match n {
            1 => base,
            2 => times(self, base, base),
            3 => {
                let square = times(self, base, base);
                times(self, square, base)
            }
            4 => {
                let square = times(self, base, base);
                times(self, square, square)
            }
            _ => {
                let one = self.node(Node::Const(1f32.to_bits()));
                self.node(Node::Binary(BinaryOp::Div, one, base))
            }
        }
    }

    /// The value, when there is only one and it is a product: for fused multiply-add into an accumulator.
    pub(super) fn as_product<S: Simd>(&self, s: &mut S, at: &At<'_>) -> R<Option<(V, Operand)>> {
        let [root] = self.roots[..] else { return Ok(None) };
        let Node::Binary(BinaryOp::Mul, a, b) = self.nodes[root] else { return Ok(None) };
        let mut eval = Eval::new(self, at, None);
        let a = eval.reg(s, a)?;
        let b = eval.operand(s, b)?;
        Ok(Some((a, b)))
    }

    /// Whether the value is a single product.
    pub(super) fn is_product(&self) -> bool {
        matches!(self.roots[..], [root] if matches!(self.nodes[root], Node::Binary(BinaryOp::Mul, ..)))
    }

    /// Vector registers that evaluation may need at once, the results and `acc` included: an upper bound.
    fn registers(&self) -> usize {
        let mut need: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            need.push(match node {
                Node::Acc | Node::Const(_) | Node::Load(_) => 1,
                Node::Unary(op, a) => need[*a].max(match op {
                    UnaryOp::Log | UnaryOp::Sin | UnaryOp::Cos => 9,
                    UnaryOp::Exp | UnaryOp::Sigmoid | UnaryOp::Tanh | UnaryOp::Erf => 7,
                    UnaryOp::Sign => 4,
                    _ => 2,
                }),
                Node::MaskToNumber(a) => need[*a],
                // An operand in a register, and a mask or a constant that the operation needs beside it; a
                // product that is added keeps both factors.
                Node::Binary(_, a, b) => need[*a].max(need[*b] + 1).max(need[*a] + 1) + 2,
                Node::Select(c, a, b) => need[*c].max(need[*a] + 1).max(need[*b] + 2) + 1,
            });
        }
        let leaf = |n: &Node| matches!(n, Node::Const(_) | Node::Load(_));
        let held = self.nodes.iter().zip(&self.uses).filter(|(node, uses)| !leaf(node) && **uses > 1).count();
        let largest = self.roots.iter().map(|root| need[*root]).max().unwrap_or(0);
        largest + held + self.roots.len()
    }

    /// Makes room for the evaluation beside accumulators: as many of the last ones as necessary are parked.
    pub(super) fn make_room<S: Simd>(&self, s: &mut S, acc: Vec<V>) -> R<Vec<Waiting>> {
        let need = self.registers();
        let mut waiting: Vec<Waiting> = Vec::with_capacity(acc.len());
        for v in acc.into_iter().rev() {
            waiting.push(if s.spare() < need { Waiting::Parked(s.park(v)?) } else { Waiting::Here(v) });
        }
        waiting.reverse();
        Ok(waiting)
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
struct Eval<'v> {
    values: &'v Values,
    at: &'v At<'v>,
    /// Values that are needed again.
    held: Vec<Option<V>>,
    /// Uses still to come.
    left: Vec<u32>,
}

impl<'v> Eval<'v> {
    fn new(values: &'v Values, at: &'v At<'v>, acc: Option<V>) -> Self {
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
    fn reg<S: Simd>(&mut self, s: &mut S, n: usize) -> R<V> {
        match self.values.nodes[n] {
            Node::Const(bits) => return s.splat(f32::from_bits(bits)),
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

    fn operand<S: Simd>(&mut self, s: &mut S, n: usize) -> R<Operand> {
        match self.values.nodes[n] {
            Node::Const(bits) => Ok(Operand::Const(f32::from_bits(bits))),
            Node::Load(a) => self.at.load(s, a),
            _ => Ok(Operand::Reg(self.reg(s, n)?)),
        }
    }

    fn is_leaf(&self, n: usize) -> bool {
        matches!(self.values.nodes[n], Node::Const(_) | Node::Load(_))
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
            Node::Const(_) | Node::Load(_) => self.reg(s, n),
            Node::Unary(op, a) => self.unary(s, op, a),
            Node::Binary(op, a, b) => self.binary(s, op, a, b),
            Node::Select(c, a, b) => {
                let mask = self.reg(s, c)?;
                let d = self.reg(s, a)?;
                let operand = self.operand(s, b)?;
                s.keep_where(&d, &mask, operand.src(self.at.walk))?;
                operand.free(s);
                s.free(mask);
                Ok(d)
            }
            Node::MaskToNumber(a) => {
                let d = self.reg(s, a)?;
                s.op2(Op2::And, &d, Src::Const(1.0))?;
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
                Node::Const(bits) if is_power_of_two(f32::from_bits(bits)) => {
                    let d = self.reg(s, a)?;
                    s.op2(Op2::Mul, &d, Src::Const(1.0 / f32::from_bits(bits)))?;
                    return Ok(d);
                }
                _ => Op2::Div,
            },
            BinaryOp::Min | BinaryOp::Max => {
                let number =
                    matches!(self.values.nodes[b], Node::Const(bits) if !f32::from_bits(bits).is_nan());
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
            BinaryOp::And => Op2::And,
            BinaryOp::Or => Op2::Or,
            BinaryOp::Xor => Op2::Xor,
            _ => return Err(Refusal::unsupported(format!("{op:?} in vectors"))),
        };
        self.op2(s, op, a, b)
    }

    /// `product + addend` in one operation, when nothing else needs the product.
    fn multiply_add<S: Simd>(&mut self, s: &mut S, product: usize, addend: usize) -> R<Option<V>> {
        let Node::Binary(BinaryOp::Mul, a, b) = self.values.nodes[product] else { return Ok(None) };
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

    fn unary<S: Simd>(&mut self, s: &mut S, op: UnaryOp, a: usize) -> R<V> {
        let d = self.reg(s, a)?;
        match op {
            UnaryOp::Neg => s.op1(Op1::Neg, &d)?,
            UnaryOp::Abs => s.op1(Op1::Abs, &d)?,
            UnaryOp::Sqrt => s.op1(Op1::Sqrt, &d)?,
            UnaryOp::Floor => s.op1(Op1::Floor, &d)?,
            UnaryOp::Ceil => s.op1(Op1::Ceil, &d)?,
            UnaryOp::Round => s.op1(Op1::Round, &d)?,
            UnaryOp::Exp => vecmath::exp(s, &d)?,
            UnaryOp::Log => vecmath::log(s, &d)?,
            UnaryOp::Sin => vecmath::sin(s, &d)?,
            UnaryOp::Cos => vecmath::cos(s, &d)?,
            UnaryOp::Tanh => vecmath::tanh(s, &d)?,
            UnaryOp::Erf => vecmath::erf(s, &d)?,
            UnaryOp::Sigmoid => vecmath::sigmoid(s, &d)?,
            UnaryOp::Not => s.op2(Op2::Xor, &d, Src::Bits(u32::MAX))?,
            UnaryOp::IsNan => {
                let x = s.copy(&d)?;
                s.op2(Op2::Eq, &d, Src::Reg(&x))?;
                s.free(x);
                s.op2(Op2::Xor, &d, Src::Bits(u32::MAX))?;
            }
            UnaryOp::IsInf => {
                s.op1(Op1::Abs, &d)?;
                s.op2(Op2::Eq, &d, Src::Const(f32::INFINITY))?;
            }
            UnaryOp::Sign => {
                // 1 with the operand's sign where it is neither 0 nor NaN; there it is itself.
                let magnitude = s.copy(&d)?;
                s.op1(Op1::Abs, &magnitude)?;
                let nonzero = s.splat(0.0)?;
                s.op2(Op2::Lt, &nonzero, Src::Reg(&magnitude))?;
                s.free(magnitude);
                let sign = s.copy(&d)?;
                s.op2(Op2::And, &sign, Src::Bits(0x8000_0000))?;
                s.op2(Op2::Or, &sign, Src::Const(1.0))?;
                s.keep_where(&sign, &nonzero, Src::Reg(&d))?;
                s.free(nonzero);
                s.free(d);
                return Ok(sign);
            }
            _ => return Err(Refusal::unsupported(format!("{op:?} in vectors"))),
        }
        Ok(d)
    }
}

fn is_power_of_two(value: f32) -> bool {
    value.is_normal() && value.to_bits() & 0x007f_ffff == 0 && (1.0 / value).is_normal()
}
