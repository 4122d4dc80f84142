//! Registers for expressions in vectors: how many they need, and what becomes of those that are left.

use kiln_ir::kernel::BinaryOp;
use kiln_ir::types::DType;
use kiln_targets::math::Function;
use kiln_targets::math::tape::{self, Need};
use kiln_targets::simd::{Parked, R, Simd, V};
use kiln_targets::vector_expr::is_chain;

use super::vexpr::{Dag, Node, VectorKind, function, is_function, lane};

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

impl Dag {
    /// Vector registers that evaluation may need at once, the results and `acc` included.
    pub(super) fn registers(&self) -> Need {
        let mut need: Vec<Need> = Vec::with_capacity(self.nodes.len());
        for (n, (node, kind)) in self.nodes.iter().zip(&self.kinds).enumerate() {
            let here = match node {
                Node::Cast(..) if let Some((x, beside)) = self.rounds_beside(n) => {
                    need.push(need[x].or(Need { each: 1, beside }));
                    continue;
                }
                Node::Cast(VectorKind::F32, a) if self.kinds[*a] == VectorKind::Number(DType::I32) => {
                    need.push(need[*a].or(Need { each: 1, beside: 1 }));
                    continue;
                }
                Node::Acc | Node::Const(..) | Node::Load(_) if *kind == VectorKind::Number(DType::I32) => {
                    need.push(Need { each: 1, beside: 1 });
                    continue;
                }
                Node::Acc | Node::Const(..) | Node::Load(_) => Need { each: 1, beside: 0 },
                Node::Count(_) | Node::Size(_) => Need { each: 1, beside: 1 },
                Node::Unary(op, a) => {
                    let inside = tape::registers(Function::Unary(*op), self.kinds[*a].lane());
                    need[*a].or(inside).or(Need { each: 1, beside: 1 })
                }
                Node::Binary(op, a, b)
                    if let VectorKind::Number(dtype) = self.kinds[*a]
                        && is_function(*op, dtype) =>
                {
                    let inside = tape::registers(function(*op, dtype), lane(dtype));
                    need[*a].or(need[*b].and(1)).or(inside)
                }
                Node::Cast(VectorKind::F32, a) if matches!(self.kinds[*a], VectorKind::Mask { .. }) => {
                    need[*a]
                }
                Node::Bits(_, a) => need[*a],
                Node::Cast(_, a) => need[*a].or(Need { each: 1, beside: 4 }),
                // An operand from memory or a constant: in a register, with a mask beside it at most. It may be the
                // addend of a product or come first, and then waits for the other operand.
                Node::Binary(op, a, b) if self.is_leaf(*a) || self.is_leaf(*b) => {
                    let product = |n: usize| matches!(self.nodes[n], Node::Binary(BinaryOp::Mul, ..));
                    let waits = self.is_leaf(*a) && !self.is_leaf(*b) || *op == BinaryOp::Add && product(*a);
                    let both = need[*a].or(need[*b]);
                    both.and(usize::from(waits)).or(Need { each: 1, beside: 2 })
                }
                // An operand in a register, and a mask that the operation needs beside it; a product that is
                // added keeps both factors.
                Node::Binary(_, a, b) => need[*a].or(need[*b]).and(2).or(Need { each: 1, beside: 2 }),
                // The sum waits for the factors, of which the second may be in memory.
                Node::MulAdd(a, b, c) => {
                    need[*c].or(need[*a].and(1)).or(need[*b].and(2)).or(Need { each: 2, beside: 1 })
                }
                Node::Select(c, a, b) => {
                    need[*c].or(need[*a].and(1)).or(need[*b].and(2)).or(Need { each: 1, beside: 2 })
                }
            };
            // What sequences of instructions take: a second operand and up to four more.
            let sequences = matches!(kind, VectorKind::Number(dtype) if *dtype != DType::F32);
            need.push(if sequences { here.or(Need { each: 1, beside: 5 }) } else { here });
        }
        let leaf = |n: &Node| matches!(n, Node::Const(..) | Node::Load(_));
        let held = self.nodes.iter().zip(&self.uses).filter(|(node, uses)| !leaf(node) && **uses > 1).count();
        let least = Need { each: 0, beside: 0 };
        let largest = self.roots.iter().map(|root| need[*root]).fold(least, Need::or);
        largest.and(held + self.roots.len().saturating_sub(1))
    }

    /// How many of some vectors are computed side by side: as many as there is room for, in equal parts.
    pub(super) fn side_by_side<S: Simd>(&self, s: &S, vectors: usize) -> usize {
        let (need, room) = (self.registers(), s.spare());
        let most = (1..=vectors).rev().find(|n| need.of(*n) <= room).unwrap_or(1);
        vectors.div_ceil(vectors.div_ceil(most).max(1))
    }

    /// Constants of functions stay in the registers that so many vectors side by side, and others, leave. Outside of all
    /// loops.
    pub(super) fn keep_constants<S: Simd>(&self, s: &mut S, vectors: usize, others: usize) -> R {
        let room = others + self.registers().of(self.side_by_side(s, vectors));
        for (node, kind) in self.nodes.iter().zip(&self.kinds) {
            let Node::Unary(op, _) = node else { continue };
            if *kind != VectorKind::F32 || !is_chain(*op) {
                continue;
            }
            for bits in tape::constants(Function::Unary(*op), s.scales()) {
                if s.spare() > room && s.spare() < usize::MAX && !s.keeps(bits) {
                    s.prepare_constant(bits)?;
                }
            }
        }
        Ok(())
    }

    /// Whether vectors and as many accumulators have room side by side.
    pub(super) fn has_room<S: Simd>(&self, s: &S, vectors: usize) -> bool {
        self.registers().of(vectors) + vectors <= s.spare()
    }

    /// Whether a value is a function of many operations.
    pub(super) fn has_chain(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node, Node::Unary(op, _) if is_chain(*op)))
    }

    /// Makes room for the evaluation beside accumulators: as many of the last ones as necessary are parked. Where
    /// there are many constants, each of which would be loaded for every accumulator, they get room too.
    pub(super) fn make_room<S: Simd>(&self, s: &mut S, acc: Vec<V>) -> R<Vec<Waiting>> {
        let need = self.registers().of(1);
        let mut waiting: Vec<Waiting> = Vec::with_capacity(acc.len());
        for v in acc.into_iter().rev() {
            waiting.push(if s.spare() < need { Waiting::Parked(s.park(v)?) } else { Waiting::Here(v) });
        }
        waiting.reverse();
        Ok(waiting)
    }
}
