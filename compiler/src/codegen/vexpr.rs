//! Expressions in f32 vectors: bodies and epilogues of the vector generators.
//!
//! Trees are turned into graphs first, so that a value used twice is computed once. Constants and elements in
//! memory are operands of the operation that uses them. A bool is a mask: all ones or 0 per lane.

use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{BinaryOp, Expr, UnaryOp};
use kiln_ir::types::DType;
use kiln_targets::math::tape;
use kiln_targets::simd::{Parked, R, Refusal, Simd, Src, V};
use kiln_targets::vector_expr::{self, Lanes, power};

use super::walk::{AccessId, ELEMENT, Walk};

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
    pub(super) roots: Vec<usize>,
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
            Expr::Cast(DType::F32, a) => match vector_expr::lanes(a) {
                Some(Lanes::Masks) => Node::MaskToNumber(self.add(walk, a)?),
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
                Node::Unary(op, a) => need[*a].max(tape::registers(*op)).max(2),
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
}
