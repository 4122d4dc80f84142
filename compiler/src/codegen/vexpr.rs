//! Expressions in vectors: bodies and epilogues of the vector generators.
//!
//! Trees are turned into graphs first, so that a value used twice is computed once. Constants and elements in
//! memory are operands of the operation that uses them. A bool is a mask, all ones or 0 per lane, of the width of what was
//! compared. Short integers are extended to 32 bits, floats of 16 bits are f32 that such a one can hold: after every
//! operation that leaves their range they are brought back into it.

use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{BinaryOp, Expr, Scalar, UnaryOp};
use kiln_ir::types::DType;
use kiln_targets::math::Function;
use kiln_targets::simd::sequences::splat_bits;
use kiln_targets::simd::{Element, Lane, Narrow, Op2, Overflow, R, Refusal, Simd, SimdExt as _, Src, V};
use kiln_targets::vector_expr::product_power;

use super::quantize::known::Known;
use super::walk::{AccessId, Walk};

/// What the lanes of a node hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VectorKind {
    /// Numbers of a type.
    Number(DType),
    /// All ones or 0, in lanes of 64 bits when `wide`.
    Mask { wide: bool },
}

impl VectorKind {
    pub(super) const F32: Self = Self::Number(DType::F32);

    fn of(dtype: DType) -> Self {
        if dtype == DType::Bool { Self::Mask { wide: false } } else { Self::Number(dtype) }
    }

    /// What operations take the lanes for.
    pub(super) fn lane(self) -> Lane {
        match self {
            Self::Number(dtype) => lane(dtype),
            Self::Mask { wide } => {
                if wide {
                    Lane::I64
                } else {
                    Lane::I32
                }
            }
        }
    }
}

/// A register of a constant of that kind.
pub(super) fn splat<S: Simd>(s: &mut S, bits: u64, kind: VectorKind) -> R<V> {
    splat_bits(s, kind.lane(), bits)
}

/// The lanes that hold elements of a type.
pub(super) fn lane(dtype: DType) -> Lane {
    match dtype {
        DType::F64 => Lane::F64,
        DType::I64 => Lane::I64,
        DType::U64 => Lane::U64,
        DType::U32 => Lane::U32,
        _ if dtype.is_float() => Lane::F32,
        _ => Lane::I32,
    }
}

/// A constant as lanes hold it.
pub(super) fn lane_bits(scalar: Scalar) -> u64 {
    match scalar.dtype {
        DType::Bool => {
            if scalar.bits != 0 {
                u32::MAX.into()
            } else {
                0
            }
        }
        DType::F16 | DType::BF16 => u64::from((scalar.to_f64() as f32).to_bits()),
        DType::I4 | DType::I8 | DType::I16 => u64::from(scalar.to_i64() as u32),
        _ => scalar.bits,
    }
}

/// Whether a function of two numbers is no operation of the builder but has a definition.
pub(super) fn is_function(op: BinaryOp, dtype: DType) -> bool {
    match op {
        BinaryOp::Pow | BinaryOp::Rem | BinaryOp::Mod => true,
        BinaryOp::Div => dtype.is_int(),
        _ => false,
    }
}

/// Such a function as a definition.
pub(super) fn function(op: BinaryOp, dtype: DType) -> Function {
    if dtype.is_float() { Function::Binary(op) } else { Function::Whole(op) }
}

/// An operation of the graph; operands are positions of earlier nodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Acc,
    /// By its bits in a lane, so that NaN equals itself.
    Const(u64, VectorKind),
    Load(AccessId),
    /// The count of a loop.
    Count(AccessId),
    /// A size, by its position in the kernel's row.
    Size(usize),
    Unary(UnaryOp, usize),
    Binary(BinaryOp, usize, usize),
    /// A product and a sum of f32, rounded once.
    MulAdd(usize, usize, usize),
    Select(usize, usize, usize),
    Cast(VectorKind, usize),
    /// The same bits as numbers of another type.
    Bits(DType, usize),
}

/// Expressions with shared parts.
pub(super) struct Dag {
    pub(super) nodes: Vec<Node>,
    pub(super) kinds: Vec<VectorKind>,
    acc: VectorKind,
    pub(super) roots: Vec<usize>,
    /// A sum is rounded after its product, as they are written: the results are integers, which a digit may decide.
    pub(super) rounds_products: bool,
    pub(super) uses: Vec<u32>,
    loads: Vec<(FlatAccess, AccessId)>,
    counts: Vec<(LoopId, AccessId)>,
    /// Of values that are quantised.
    pub(super) known: Known,
    /// No value is left to a store to be clamped.
    pub(super) exact: bool,
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
    /// In lanes of 64 bits.
    Wide(u64),
    Mem(AccessId, i32),
    Splat(AccessId, i32),
}

impl Operand {
    /// A constant of a kind.
    pub(super) fn constant(bits: u64, kind: VectorKind) -> Self {
        if kind.lane().is_wide() { Self::Wide(bits) } else { Self::Const(f32::from_bits(bits as u32)) }
    }

    /// As an operation's second operand.
    pub(super) fn src<'a>(&'a self, walk: &'a Walk) -> Src<'a> {
        match self {
            Self::Reg(v) => Src::Reg(v),
            Self::Const(value) => Src::Const(*value),
            Self::Wide(bits) => Src::Wide(*bits),
            Self::Mem(a, disp) => Src::Mem(walk.ptr(*a), *disp),
            Self::Splat(a, disp) => Src::Splat(walk.ptr(*a), *disp),
        }
    }

    /// In a register.
    pub(super) fn into_reg<S: Simd>(self, s: &mut S, walk: &Walk) -> R<V> {
        match self {
            Self::Reg(v) => Ok(v),
            Self::Const(value) => s.splat(value),
            Self::Wide(bits) => s.splat_wide(bits),
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
    /// Whether all lanes have the same element, or the same constant.
    pub(super) fn is_splat(&self, a: AccessId) -> bool {
        self.walk.stride(a, self.lane) == 0
    }

    /// An element per lane.
    pub(super) fn load<S: Simd>(&self, s: &mut S, a: AccessId) -> R<Operand> {
        if let Some(otherwise) = self.walk.outside(a)? {
            let kind = VectorKind::of(otherwise.dtype);
            return Ok(match self.walk.element(a) {
                Element::B64 => Operand::Wide(otherwise.bits),
                _ => Operand::constant(lane_bits(otherwise), kind),
            });
        }
        let disp = self.walk.disp(a, self.ahead, 0)?;
        let (element, stride) = (self.walk.element(a), self.walk.stride(a, self.lane));
        let size = element.bytes() as i64;
        // Elements that are lanes as they are, a whole vector of them.
        let whole = match element {
            Element::B32 => self.n == s.lanes(),
            Element::B64 => 2 * self.n == s.lanes(),
            _ => false,
        };
        match stride {
            0 if element == Element::B32 => Ok(Operand::Splat(a, disp)),
            0 => Ok(Operand::Reg(s.load_splat_as(element, self.walk.ptr(a), disp)?)),
            _ if stride == size && whole => Ok(Operand::Mem(a, disp)),
            _ if stride == size => Ok(Operand::Reg(s.load_as(element, self.walk.ptr(a), disp, self.n)?)),
            // A single element, however the next one lies.
            _ if self.n == 1 => Ok(Operand::Reg(s.load_as(element, self.walk.ptr(a), disp, 1)?)),
            _ => Ok(Operand::Reg(s.load_strided_as(element, self.walk.ptr(a), disp, stride, self.n)?)),
        }
    }

    /// A loop's count per lane.
    pub(super) fn count<S: Simd>(&self, s: &mut S, a: AccessId) -> R<V> {
        let v = s.splat_index(self.walk.ptr(a), self.walk.disp(a, self.ahead, 0)?)?;
        if self.walk.stride(a, self.lane) != 0 {
            let lanes = s.ramp(true)?;
            s.op2_as(Lane::I64, Op2::Add, &v, Src::Reg(&lanes))?;
            s.free(lanes);
        }
        Ok(v)
    }

    /// Writes the lanes, which may be overwritten; a single element where the access does not move along the lanes.
    /// `overflow`: what becomes of those that are no bytes.
    pub(super) fn store<S: Simd>(&self, s: &mut S, a: AccessId, v: &V, overflow: Overflow) -> R {
        let disp = self.walk.disp(a, self.ahead, 0)?;
        let n = if self.walk.stride(a, self.lane) == 0 { 1 } else { self.n };
        let (p, element) = (self.walk.ptr(a), self.walk.element(a));
        match (element, overflow) {
            (Element::I8, Overflow::Moved) => {
                s.store_narrow(Narrow { two: false, signed: false }, overflow, p, disp, v, n)
            }
            (Element::U16 | Element::I16, Overflow::Byte) => {
                s.store_narrow(Narrow { two: true, signed: false }, overflow, p, disp, v, n)
            }
            (Element::U8 | Element::I8, Overflow::Saturate) => {
                let byte = Narrow { two: false, signed: element == Element::I8 };
                s.store_narrow(byte, overflow, p, disp, v, n)
            }
            _ => s.store_as(element, p, disp, v, n),
        }
    }

    /// Writes a vector to each of two places, both at once where that is shorter, and gives their registers back.
    pub(super) fn store_two<S: Simd>(
        s: &mut S,
        places: [&At<'_>; 2],
        a: AccessId,
        pair: [V; 2],
        overflow: Overflow,
    ) -> R {
        let [first, second] = places;
        let element = first.walk.element(a);
        let short = match element {
            Element::U8 => overflow == Overflow::Saturate,
            Element::U16 | Element::I16 => overflow == Overflow::Byte,
            _ => false,
        };
        let whole = |at: &At<'_>| at.n == s.lanes() && at.walk.stride(a, at.lane) == element.bytes() as i64;
        let disps = [first.walk.disp(a, first.ahead, 0)?, second.walk.disp(a, second.ahead, 0)?];
        let [v, w] = &pair;
        let together = short
            && whole(first)
            && whole(second)
            && s.store_two(first.walk.ptr(a), disps, [v, w], overflow)?;
        if !together {
            first.store(s, a, v, overflow)?;
            second.store(s, a, w, overflow)?;
        }
        pair.into_iter().for_each(|v| s.free(v));
        Ok(())
    }

    /// Writes vectors, several at once where they follow each other in memory, and gives their registers back.
    pub(super) fn store_all<S: Simd>(
        s: &mut S,
        places: &[At<'_>],
        a: AccessId,
        all: Vec<V>,
        overflow: Overflow,
    ) -> R {
        let mut done = 0;
        while let Some(at) = places.get(done) {
            let element = at.walk.element(a);
            let size = element.bytes();
            let short = match element {
                Element::U8 => overflow == Overflow::Saturate,
                Element::I8 => overflow == Overflow::Moved,
                Element::U16 | Element::I16 => overflow == Overflow::Byte,
                _ => false,
            } && at.walk.stride(a, at.lane) == size as i64;
            let (first, lanes) = (at.walk.disp(a, at.ahead, 0)?, s.lanes());
            // A last one may overlap the one before, or be of another line.
            let follows = |(i, at): (usize, &At<'_>)| {
                let place = at.walk.disp(a, at.ahead, 0);
                at.n == lanes && place.is_ok_and(|place| place == first + (i * lanes * size) as i32)
            };
            let whole = places[done..].iter().enumerate().take_while(|v| follows(*v)).count();
            let together = [4, 2].into_iter().find(|n| *n <= whole);
            if let (Some(n), true) = (together, short)
                && s.store_together(at.walk.ptr(a), first, &all[done..][..n], overflow)?
            {
                done += n;
                continue;
            }
            at.store(s, a, &all[done], overflow)?;
            done += 1;
        }
        all.into_iter().for_each(|v| s.free(v));
        Ok(())
    }
}

impl Dag {
    /// A constant for each lane that is added to the accumulator and to nothing else may be where the sum of integers
    /// begins; then it is no part of the expressions any more.
    pub(super) fn take_start(&mut self) -> Option<AccessId> {
        let acc = self.nodes.iter().position(|n| *n == Node::Acc).filter(|n| self.uses[*n] == 1)?;
        let integers = VectorKind::Number(DType::I32);
        let sum = self
            .nodes
            .iter()
            .position(|n| matches!(n, Node::Binary(BinaryOp::Add, a, b) if (*a == acc) != (*b == acc)))?;
        let Node::Binary(_, a, b) = self.nodes[sum] else { return None };
        let Node::Load(start) = self.nodes[if a == acc { b } else { a }] else { return None };
        if self.kinds[sum] != integers {
            return None;
        }
        self.nodes[sum] = Node::Acc;
        self.nodes[acc] = Node::Const(0, integers);
        self.uses[acc] = 0;
        Some(start)
    }

    /// Registers the loads of expressions with an accumulator of a type, if any, and finds what they share.
    pub(super) fn typed<'e>(
        walk: &mut Walk,
        acc: DType,
        exprs: impl IntoIterator<Item = &'e Expr<FlatAccess>>,
    ) -> R<Self> {
        let mut this = Self {
            nodes: Vec::new(),
            kinds: Vec::new(),
            acc: VectorKind::of(acc),
            roots: Vec::new(),
            rounds_products: false,
            uses: Vec::new(),
            loads: Vec::new(),
            counts: Vec::new(),
            known: Known::default(),
            exact: false,
        };
        for expr in exprs {
            let root = this.add(walk, expr)?;
            let root = this.mask_of(root, false);
            this.uses[root] += 1;
            this.roots.push(root);
        }
        let short = |root: &usize| matches!(this.kinds[*root], VectorKind::Number(ty) if ty.is_int() && ty.size() < 4);
        this.rounds_products = this.roots.iter().any(short);
        Ok(this)
    }

    fn add(&mut self, walk: &mut Walk, expr: &Expr<FlatAccess>) -> R<usize> {
        Ok(match expr {
            Expr::Acc => self.node(Node::Acc, self.acc),
            Expr::Const(scalar) => {
                let kind = VectorKind::of(scalar.dtype);
                self.node(Node::Const(lane_bits(*scalar), kind), kind)
            }
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
                self.node(Node::Load(id), VectorKind::of(access.dtype))
            }
            Expr::Binary(BinaryOp::Pow, base, exponent) => {
                let base = self.add(walk, base)?;
                let kind = self.kinds[base];
                let VectorKind::Number(dtype) = kind else {
                    return Err(Refusal::unsupported("a power of bools in vectors"));
                };
                if let Some(n) = product_power(exponent, dtype) {
                    return Ok(self.power(base, n));
                }
                let exponent = self.add(walk, exponent)?;
                if self.kinds[exponent] != kind {
                    return Err(Refusal::unsupported("a power of two types"));
                }
                self.node(Node::Binary(BinaryOp::Pow, base, exponent), kind)
            }
            Expr::Unary(op, a) => {
                let a = self.add(walk, a)?;
                let kind = match op {
                    UnaryOp::IsNan | UnaryOp::IsInf => {
                        VectorKind::Mask { wide: self.kinds[a].lane().is_wide() }
                    }
                    _ => self.kinds[a],
                };
                self.node(Node::Unary(*op, a), kind)
            }
            Expr::Binary(op, a, b) => {
                let (mut a, mut b) = (self.add(walk, a)?, self.add(walk, b)?);
                let kind = match (self.kinds[a], self.kinds[b]) {
                    (VectorKind::Mask { wide: x }, VectorKind::Mask { wide: y }) => {
                        (a, b) = (self.mask_of(a, x && y), self.mask_of(b, x && y));
                        VectorKind::Mask { wide: x && y }
                    }
                    (x, y) if x != y => return Err(Refusal::unsupported(format!("{op:?} of two types"))),
                    (x, _) => match op {
                        BinaryOp::Eq | BinaryOp::Lt | BinaryOp::Le => {
                            VectorKind::Mask { wide: x.lane().is_wide() }
                        }
                        _ => x,
                    },
                };
                self.node(Node::Binary(*op, a, b), kind)
            }
            Expr::MulAdd(a, b, c) => {
                let (a, b, c) = (self.add(walk, a)?, self.add(walk, b)?, self.add(walk, c)?);
                if [a, b, c].iter().any(|n| self.kinds[*n] != VectorKind::F32) {
                    return Err(Refusal::unsupported("a multiply-add of no f32"));
                }
                self.node(Node::MulAdd(a, b, c), VectorKind::F32)
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (self.add(walk, c)?, self.add(walk, a)?, self.add(walk, b)?);
                let (a, b) = (self.mask_of(a, false), self.mask_of(b, false));
                let c = self.mask_of(c, self.kinds[a].lane().is_wide());
                self.node(Node::Select(c, a, b), self.kinds[a])
            }
            Expr::Cast(to, a) => {
                let a = self.add(walk, a)?;
                if self.kinds[a] == VectorKind::Number(*to) {
                    return Ok(a);
                }
                let kind = match (self.kinds[a], *to) {
                    (from @ VectorKind::Mask { .. }, DType::Bool) => from,
                    (from, DType::Bool) => VectorKind::Mask { wide: from.lane().is_wide() },
                    (_, to) => VectorKind::Number(to),
                };
                if kind == self.kinds[a] { a } else { self.node(Node::Cast(kind, a), kind) }
            }
            Expr::Bits(to, a) => {
                let a = self.add(walk, a)?;
                match self.kinds[a] {
                    VectorKind::Number(from) if from == *to => a,
                    VectorKind::Number(_) => self.node(Node::Bits(*to, a), VectorKind::Number(*to)),
                    VectorKind::Mask { .. } => {
                        return Err(Refusal::unsupported("the bits of bools in vectors"));
                    }
                }
            }
            Expr::Size(size) => self.node(Node::Size(walk.size_at(size)?), VectorKind::Number(DType::I64)),
            Expr::Loop(l) => {
                let known = self.counts.iter().find(|(other, _)| other == l).map(|(_, id)| *id);
                let id = known.unwrap_or_else(|| {
                    let id = walk.counter(*l);
                    self.counts.push((*l, id));
                    id
                });
                self.node(Node::Count(id), VectorKind::Number(DType::I64))
            }
        })
    }

    /// A mask in lanes of a width; what is no mask stays.
    fn mask_of(&mut self, n: usize, wide: bool) -> usize {
        let kind = VectorKind::Mask { wide };
        match (&self.nodes[n], self.kinds[n]) {
            (_, VectorKind::Number(_)) => n,
            (_, known) if known == kind => n,
            (Node::Const(bits, _), _) => {
                let all = if wide { u64::MAX } else { u32::MAX.into() };
                let bits = if *bits == 0 { 0 } else { all };
                self.node(Node::Const(bits, kind), kind)
            }
            _ => self.node(Node::Cast(kind, n), kind),
        }
    }

    fn node(&mut self, node: Node, kind: VectorKind) -> usize {
        if let Some(known) = self.nodes.iter().position(|other| *other == node) {
            return known;
        }
        match &node {
            Node::Acc | Node::Const(..) | Node::Load(_) | Node::Count(_) | Node::Size(_) => {}
            Node::Unary(_, a) | Node::Cast(_, a) | Node::Bits(_, a) => self.uses[*a] += 1,
            Node::Binary(_, a, b) => {
                self.uses[*a] += 1;
                self.uses[*b] += 1;
            }
            Node::Select(a, b, c) | Node::MulAdd(a, b, c) => {
                for operand in [a, b, c] {
                    self.uses[*operand] += 1;
                }
            }
        }
        self.nodes.push(node);
        self.kinds.push(kind);
        self.uses.push(0);
        self.nodes.len() - 1
    }

    fn power(&mut self, base: usize, n: i32) -> usize {
        let kind = self.kinds[base];
        let times = |this: &mut Self, a, b| this.node(Node::Binary(BinaryOp::Mul, a, b), kind);
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
                let bits = if kind.lane().is_wide() { 1f64.to_bits() } else { 1f32.to_bits().into() };
                let one = self.node(Node::Const(bits, kind), kind);
                self.node(Node::Binary(BinaryOp::Div, one, base), kind)
            }
        }
    }

    /// Whether the value is a single product of f32.
    pub(super) fn is_product(&self) -> bool {
        let product = |n: usize| matches!(self.nodes[n], Node::Binary(BinaryOp::Mul, ..));
        matches!(self.roots[..], [root] if product(root) && self.kinds[root] == VectorKind::F32)
    }

    pub(super) fn is_leaf(&self, n: usize) -> bool {
        matches!(self.nodes[n], Node::Const(..) | Node::Load(_))
    }
}
