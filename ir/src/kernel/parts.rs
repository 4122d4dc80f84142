//! What a form is made of, whatever it is: its accesses with their roles, its expressions, its results.
//!
//! Whoever only walks or replaces parts of kernels asks here. A new form is described once, in the two `match`es of
//! [`Form::parts`] and [`Form::parts_mut`]; what is left to name it elsewhere is what knows its meaning: text,
//! verifier, interpreters, schedules and code.

use super::access::{BufferId, LoopId, each_buffer, each_index_buffer};
use super::expr::Expr;
use super::form::{Form, ReduceOp, Side, Store};
use crate::error::Result;
use crate::types::DType;

/// What an operand is to its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// What a reduction runs over: the left side of a product, the input of a window or a transform.
    Data,
    /// What it is multiplied by.
    Weight,
    /// What a copy reads.
    Copied,
}

macro_rules! parts {
    ($(#[$doc:meta])* $name:ident $slice:ident $($mutable:ident)?) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<'a, A> {
            /// Accesses that the form reads by itself, in order.
            pub operands: Vec<(Operand, &'a $($mutable)? A)>,
            /// The expression that is reduced.
            pub reduced: Option<&'a $($mutable)? Expr<A>>,
            /// Results with their epilogues.
            pub stores: &'a $($mutable)? [Store<A>],
            /// The result of a copy, which has no epilogue.
            pub copied_to: Option<&'a $($mutable)? A>,
            /// Matrices along loops of the kernel.
            pub sides: Vec<&'a $($mutable)? Side>,
        }

        impl<A> Form<A> {
            $(#[$doc])*
            pub fn $slice(&$($mutable)? self) -> $name<'_, A> {
                let mut parts = $name {
                    operands: vec![],
                    reduced: None,
                    stores: Default::default(),
                    copied_to: None,
                    sides: vec![],
                };
                match self {
                    Form::Map { stores } => parts.stores = stores,
                    Form::Reduce { op: _, value, store } => {
                        parts.reduced = Some(value);
                        parts.stores = parts!(@one $($mutable)? store);
                    }
                    Form::Contract { acc: _, lhs, rhs, store } => {
                        parts.operands = vec![(Operand::Data, lhs), (Operand::Weight, rhs)];
                        parts.stores = parts!(@one $($mutable)? store);
                    }
                    Form::Window { op: _, input, weight, store } => {
                        parts.operands.push((Operand::Data, input));
                        parts.operands.extend(weight.into_iter().map(|w| (Operand::Weight, w)));
                        parts.stores = parts!(@one $($mutable)? store);
                    }
                    Form::Transform { left, right, from, store } => {
                        parts.sides = vec![left, right];
                        parts.operands.push((Operand::Data, from));
                        parts.stores = parts!(@one $($mutable)? store);
                    }
                    Form::Rearrange { from, to } => {
                        parts.operands.push((Operand::Copied, from));
                        parts.copied_to = Some(to);
                    }
                    Form::Extern { .. } => {}
                }
                parts
            }
        }
    };
    (@one mut $store:ident) => { std::slice::from_mut($store) };
    (@one $store:ident) => { std::slice::from_ref($store) };
}

parts! {
    /// The parts of a form.
    Parts parts
}

parts! {
    /// The parts of a form, to be changed.
    PartsMut parts_mut mut
}

impl<A> Form<A> {
    /// Every access that reads, in order.
    pub fn loads(&self) -> Vec<&A> {
        let parts = self.parts();
        let mut out: Vec<&A> = parts.operands.into_iter().map(|o| o.1).collect();
        for e in parts.reduced.into_iter().chain(parts.stores.iter().map(|s| &s.value)) {
            e.for_each_access(&mut |a| out.push(a));
        }
        out
    }

    /// Every access that writes, in order.
    pub fn stores(&self) -> Vec<&A> {
        let parts = self.parts();
        parts.stores.iter().map(|s| &s.to).chain(parts.copied_to).collect()
    }

    /// Calls `f` with every access, to be changed.
    pub fn each_access_mut(&mut self, f: &mut dyn FnMut(&mut A)) {
        let parts = self.parts_mut();
        parts.operands.into_iter().for_each(|o| f(o.1));
        parts.reduced.into_iter().for_each(|e| e.for_each_access_mut(f));
        for store in parts.stores {
            store.value.for_each_access_mut(f);
            f(&mut store.to);
        }
        parts.copied_to.into_iter().for_each(f);
    }

    /// Every expression: what is reduced and the epilogues.
    pub fn values(&self) -> Vec<&Expr<A>> {
        let parts = self.parts();
        parts.reduced.into_iter().chain(parts.stores.iter().map(|s| &s.value)).collect()
    }

    /// The operand that a reduction runs over.
    pub fn data(&self) -> Option<&A> {
        self.parts().operands.into_iter().find(|o| o.0 == Operand::Data).map(|o| o.1)
    }

    /// The operand that a reduction runs over, to be replaced.
    pub fn data_mut(&mut self) -> Option<&mut A> {
        self.parts_mut().operands.into_iter().find(|o| o.0 == Operand::Data).map(|o| o.1)
    }

    /// Whether every iteration makes an element of its own from elements at one place each: maps and copies.
    pub fn is_pointwise(&self) -> bool {
        matches!(self, Form::Map { .. } | Form::Rearrange { .. })
    }

    /// Whether a pointwise kernel that reads its only result can become part of it.
    pub fn takes_epilogue(&self) -> bool {
        match self {
            // What is clipped is computed over whole tiles.
            Form::Transform { .. } | Form::Extern { .. } => false,
            Form::Map { stores } => stores.len() == 1,
            _ => true,
        }
    }

    /// The type of [`Expr::Acc`] in the epilogue, given the type of each access; `None` where there is none.
    pub fn acc_type(&self, of: &mut impl FnMut(&A) -> DType) -> Result<Option<DType>> {
        Ok(match self {
            Form::Map { .. } | Form::Rearrange { .. } | Form::Extern { .. } => None,
            Form::Reduce { op: ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. }, .. } => Some(DType::I64),
            Form::Reduce { value, .. } => Some(value.dtype_with(of, None)?),
            Form::Contract { acc, .. } => Some(*acc),
            Form::Window { op, input, .. } => Some(op.accumulator(of(input))),
            Form::Transform { from, .. } => Side::accumulator(of(from)),
        })
    }

    /// Whether the value of a loop's counter matters, not only which elements it leads to.
    pub fn reads_counter(&self, l: LoopId) -> bool {
        let counts =
            matches!(self, Form::Reduce { op: ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. }, .. });
        let parts = self.parts();
        counts
            || parts.sides.iter().any(|side| side.to == l || side.over == l)
            || parts.reduced.is_some_and(|e| e.reads_counter(l))
            || parts.stores.iter().any(|s| s.value.reads_counter(l))
    }

    /// Gives every loop that is named outside of accesses another id.
    pub fn renumber_loops(&mut self, f: &dyn Fn(LoopId) -> LoopId) {
        let parts = self.parts_mut();
        parts.reduced.into_iter().for_each(|e| e.renumber_loops(f));
        parts.stores.iter_mut().for_each(|s| s.value.renumber_loops(f));
        for side in parts.sides {
            (side.to, side.over) = (f(side.to), f(side.over));
        }
    }
}

impl Form {
    /// Calls `f` with every buffer that the form touches, whether as elements or as indices, and whether it is
    /// written.
    pub fn each_buffer(&self, f: &mut impl FnMut(BufferId, bool)) {
        for load in self.loads() {
            each_buffer(load, &mut |b| f(b, false));
        }
        for store in self.stores() {
            f(store.buffer, true);
            each_index_buffer(store, &mut |b| f(b, false));
        }
        if let Form::Extern { inputs, outputs, .. } = self {
            inputs.iter().for_each(|b| f(*b, false));
            outputs.iter().for_each(|b| f(*b, true));
        }
    }

    /// Every buffer that is written, once, ascending.
    pub fn written(&self) -> Vec<BufferId> {
        let mut out = Vec::new();
        self.each_buffer(&mut |b, write| out.extend(write.then_some(b)));
        out.sort();
        out.dedup();
        out
    }
}
