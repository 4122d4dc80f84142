//! What a form is made of, whatever it is: its accesses with their roles, its expressions, its results.
//!
//! Whoever only walks or replaces parts of kernels asks here. A new form is described once, in the two `match`es of
//! [`Form::parts`] and [`Form::parts_mut`]; what is left to name it elsewhere is what knows its meaning: text,
//! verifier, interpreters, schedules and code.

use super::access::{BufferId, LoopId, each_buffer, each_index_buffer};
use super::expr::Expr;
use super::form::{Form, ReduceOp, Side};
use super::store::Store;
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
            /// Conditions and registers of a procedure.
            pub terms: &'a $($mutable)? [Expr<A>],
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
                    terms: Default::default(),
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
                    Form::Procedure(procedure) => {
                        parts.terms = parts!(@all $($mutable)? procedure terms);
                        parts.stores = parts!(@all $($mutable)? procedure stores);
                    }
                }
                parts
            }
        }
    };
    (@one mut $store:ident) => { std::slice::from_mut($store) };
    (@one $store:ident) => { std::slice::from_ref($store) };
    (@all mut $of:ident $list:ident) => { &mut $of.$list };
    (@all $of:ident $list:ident) => { &$of.$list };
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
        for e in parts.reduced.into_iter().chain(parts.terms).chain(parts.stores.iter().map(|s| &s.value)) {
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
        parts.reduced.into_iter().chain(parts.terms).for_each(|e| e.for_each_access_mut(f));
        for store in parts.stores {
            store.value.for_each_access_mut(f);
            f(&mut store.to);
        }
        parts.copied_to.into_iter().for_each(f);
    }

    /// Every expression: what is reduced, conditions and registers, and the epilogues.
    pub fn values(&self) -> Vec<&Expr<A>> {
        let parts = self.parts();
        parts.reduced.into_iter().chain(parts.terms).chain(parts.stores.iter().map(|s| &s.value)).collect()
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
            // What is clipped is computed over whole tiles; what statements write they may read.
            Form::Transform { .. } | Form::Procedure(_) => false,
            Form::Map { stores } => stores.len() == 1,
            _ => true,
        }
    }

    /// The type of [`Expr::Acc`] in the epilogue, given the type of each access; `None` where there is none.
    pub fn acc_type(&self, of: &mut impl FnMut(&A) -> DType) -> Result<Option<DType>> {
        Ok(match self {
            Form::Map { .. } | Form::Rearrange { .. } | Form::Procedure(_) => None,
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
            || matches!(self, Form::Procedure(p) if p.names(l))
            || parts.terms.iter().any(|e| e.reads_counter(l))
            || parts.sides.iter().any(|side| side.to == l || side.over == l)
            || parts.reduced.is_some_and(|e| e.reads_counter(l))
            || parts.stores.iter().any(|s| s.value.reads_counter(l))
    }

    /// Gives every loop that is named outside of accesses another id.
    pub fn renumber_loops(&mut self, f: &dyn Fn(LoopId) -> LoopId) {
        if let Form::Procedure(procedure) = self {
            procedure.renumber(f);
        }
        let parts = self.parts_mut();
        parts.reduced.into_iter().chain(parts.terms).for_each(|e| e.renumber_loops(f));
        parts.stores.iter_mut().for_each(|s| s.value.renumber_loops(f));
        for side in parts.sides {
            (side.to, side.over) = (f(side.to), f(side.over));
        }
    }
}

impl Form {
    /// Calls `f` with every buffer that the form touches, whether as elements or as indices, and whether it is
    /// written. What a procedure reads of its own results is not read.
    pub fn each_buffer(&self, f: &mut impl FnMut(BufferId, bool)) {
        let stores = self.stores();
        let own = |b| matches!(self, Form::Procedure(_)) && stores.iter().any(|s| s.buffer == b);
        for load in self.loads() {
            each_buffer(load, &mut |b| {
                if !own(b) {
                    f(b, false)
                }
            });
        }
        for store in &stores {
            f(store.buffer, true);
            each_index_buffer(store, &mut |b| f(b, false));
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
