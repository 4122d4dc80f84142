//! Expressions in f32 vectors: bodies and epilogues of the vector generators.
//!
//! Trees are turned into graphs first, so that a value used twice is computed once. Constants and elements in
//! memory are operands of the operation that uses them. A bool is a mask: all ones or 0 per lane.

use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{BinaryOp, Expr, Scalar, UnaryOp};
use kiln_ir::types::DType;
use kiln_targets::simd::{Parked, R, Refusal, Simd, Src, V};

use super::veval::Eval;
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
pub(super) enum Node {
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
    pub(super) nodes: Vec<Node>,
    roots: Vec<usize>,
    pub(super) uses: Vec<u32>,
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
            // A single element, however the next one lies.
            _ if self.n == 1 => Ok(Operand::Reg(s.load(self.walk.ptr(a), disp, 1)?)),
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
                    UnaryOp::Sign | UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round => 4,
                    _ => 2,
                }),
                Node::MaskToNumber(a) => need[*a],
                // An operand from memory or a constant: in a register, with a mask beside it at most. It may be the
                // addend of a product or come first, and then waits for the other operand.
                Node::Binary(op, a, b) if self.is_leaf(*a) || self.is_leaf(*b) => {
                    let product = |n: usize| matches!(self.nodes[n], Node::Binary(BinaryOp::Mul, ..));
                    let waits = self.is_leaf(*a) || *op == BinaryOp::Add && product(*a);
                    (need[*a].max(need[*b]) + usize::from(waits)).max(3)
                }
                // An operand in a register, and a mask that the operation needs beside it; a product that is
                // added keeps both factors.
                Node::Binary(_, a, b) => need[*a].max(need[*b] + 1).max(need[*a] + 1) + 2,
                Node::Select(c, a, b) => need[*c].max(need[*a] + 1).max(need[*b] + 2) + 1,
            });
        }
        let leaf = |n: &Node| matches!(n, Node::Const(_) | Node::Load(_));
        let held = self.nodes.iter().zip(&self.uses).filter(|(node, uses)| !leaf(node) && **uses > 1).count();
        let largest = self.roots.iter().map(|root| need[*root]).max().unwrap_or(0);
        largest + held + self.roots.len().saturating_sub(1)
    }

    fn is_leaf(&self, n: usize) -> bool {
        matches!(self.nodes[n], Node::Const(_) | Node::Load(_))
    }

    /// Makes room for the evaluation beside accumulators: as many of the last ones as necessary are parked. Where
    /// there are many constants, each of which would be loaded for every accumulator, they get room too.
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
