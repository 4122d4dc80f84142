//! The parts of quantised values in expressions.

use kiln_ir::DType;
use kiln_ir::kernel::{BinaryOp, UnaryOp};

use super::super::vexpr::{Dag, Node, VectorKind};

/// A quantised value: `cast(round(x [/ s]) + z)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantized {
    /// The node that is divided, or rounded where nothing is.
    pub(super) x: usize,
    /// The constant divisor.
    pub(super) scale: Option<f32>,
    pub(super) zero: f32,
    pub(super) to: DType,
    /// It is clamped as an integer: numbers are small.
    pub(super) fits: bool,
}

impl Quantized {
    /// The least and the greatest number before the zero point is added.
    pub(super) fn range(&self) -> (f32, f32) {
        let (lo, hi) = range(self.to);
        (lo - self.zero, hi - self.zero)
    }

    pub(super) fn unit(&self) -> f32 {
        self.scale.unwrap_or(1.0)
    }
}

/// The difference of an integer of at most 16 bits and a constant, as a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    /// The integer's node.
    pub(super) of: usize,
    pub(super) minus: i32,
}

impl Dag {
    pub(super) fn constant(&self, n: usize) -> Option<f32> {
        match self.nodes[n] {
            Node::Const(bits, VectorKind::F32) => Some(f32::from_bits(bits as u32)),
            _ => None,
        }
    }

    pub(super) fn integer(&self, n: usize) -> Option<i32> {
        match self.nodes[n] {
            Node::Const(bits, VectorKind::Number(ty)) if ty.is_int() && ty.size() <= 4 => Some(bits as i32),
            Node::Cast(VectorKind::Number(DType::I32), of) => self.integer(of),
            _ => None,
        }
    }

    /// The parts of a conversion to a short integer, where nothing else needs those between.
    pub(super) fn quantization(&self, n: usize) -> Option<Quantized> {
        let Node::Cast(VectorKind::Number(to), mut sum) = self.nodes[n] else { return None };
        if !matches!(to, DType::U8 | DType::I8 | DType::U16 | DType::I16) {
            return None;
        }
        let alone = |n: usize| (self.uses[n] == 1).then_some(n);
        let fits = match self.clamped(sum, to) {
            Some(number) => {
                sum = number;
                true
            }
            None => false,
        };
        let (mut rounded, mut zero) = (sum, 0.0);
        if let Node::Binary(BinaryOp::Add, a, z) = self.nodes[alone(sum)?] {
            (rounded, zero) = (a, self.constant(z)?);
        }
        let Node::Unary(UnaryOp::Round, mut x) = self.nodes[alone(rounded)?] else { return None };
        if self.kinds[rounded] != VectorKind::F32 || zero.fract() != 0.0 || zero.abs() > 65535.0 {
            return None;
        }
        let mut scale = None;
        if let (Node::Binary(BinaryOp::Div, a, by), Some(_)) = (&self.nodes[x], alone(x))
            && let Some(by) = self.constant(*by).filter(|by| divides(*by))
        {
            (x, scale) = (*a, Some(by));
        }
        let mut found = Quantized { x, scale, zero, to, fits };
        // What is clamped anyway need not be before.
        let least = found.range().0 * found.unit();
        if let (Node::Binary(BinaryOp::Max, a, b), Some(_)) = (&self.nodes[x], alone(x))
            && let Some(bound) = self.constant(*b)
            && bound <= least
        {
            found.x = *a;
        }
        Some(found)
    }

    /// The number whose integer is clamped to what a type holds.
    fn clamped(&self, n: usize, to: DType) -> Option<usize> {
        let limit = |n: usize, op: BinaryOp, limit: f32| match self.nodes[n] {
            Node::Binary(found, a, by) if found == op && self.uses[n] == 1 => {
                (self.integer(by) == Some(limit as i32)).then_some(a)
            }
            _ => None,
        };
        let (lo, hi) = range(to);
        let integer = limit(limit(n, BinaryOp::Max, lo)?, BinaryOp::Min, hi)?;
        match self.nodes[integer] {
            Node::Cast(VectorKind::Number(DType::I32), number) if self.uses[integer] == 1 => {
                (self.kinds[number] == VectorKind::F32).then_some(number)
            }
            _ => None,
        }
    }

    /// The byte without a sign that a result is, less half of its range: `i8(i32(byte) - 128)`.
    pub(super) fn less_half(&self, root: usize) -> Option<usize> {
        let alone = |n: usize| (self.uses[n] == 1).then_some(n);
        let Node::Cast(VectorKind::Number(DType::I8), less) = self.nodes[root] else { return None };
        let Node::Binary(BinaryOp::Sub, wide, by) = self.nodes[alone(less)?] else { return None };
        let Node::Cast(VectorKind::Number(DType::I32), byte) = self.nodes[alone(wide)?] else { return None };
        let half = self.integer(by) == Some(128) && self.kinds[byte] == VectorKind::Number(DType::U8);
        (half && self.roots.contains(&root)).then_some(byte)
    }

    /// The quantised byte without a sign that a result is as a word: `i16(byte)`.
    pub(super) fn as_word(&self, root: usize) -> Option<usize> {
        let Node::Cast(VectorKind::Number(DType::I16 | DType::U16), byte) = self.nodes[root] else {
            return None;
        };
        let alone = self.uses[byte] == 1 && self.roots.contains(&root) && self.uses[root] == 1;
        let quantised = || self.quantization(byte).is_some_and(|q| q.to == DType::U8);
        (alone && quantised()).then_some(byte)
    }

    pub(super) fn difference(&self, n: usize) -> Option<Difference> {
        let Node::Cast(VectorKind::F32, mut of) = self.nodes[n] else { return None };
        let alone = |n: usize| self.uses[n] == 1;
        let mut minus = 0;
        if let (Node::Binary(BinaryOp::Sub, a, by), VectorKind::Number(DType::I32), true) =
            (&self.nodes[of], self.kinds[of], alone(of))
        {
            (of, minus) = (*a, self.integer(*by).filter(|z| z.abs() <= 65535)?);
        }
        if let (Node::Cast(VectorKind::Number(DType::I32), short), true) = (&self.nodes[of], alone(of)) {
            of = *short;
        }
        let short = |ty: DType| ty.is_int() && ty.size() < 4;
        matches!(self.kinds[of], VectorKind::Number(ty) if short(ty)).then_some(Difference { of, minus })
    }
}

/// The least and the greatest number of a type of at most 16 bits.
pub(super) fn range(ty: DType) -> (f32, f32) {
    let bits = ty.bits() as i32;
    if ty.is_signed_int() {
        (-(2f32.powi(bits - 1)), 2f32.powi(bits - 1) - 1.0)
    } else {
        (0.0, 2f32.powi(bits) - 1.0)
    }
}

/// Positive divisors whose reciprocal and products with 17 bits are far from both ends of f32.
fn divides(scale: f32) -> bool {
    (2f32.powi(-100)..2f32.powi(100)).contains(&scale)
}
