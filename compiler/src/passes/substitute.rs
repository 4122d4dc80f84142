//! Accesses of one kernel in the loops of another.

use std::collections::HashMap;

use kiln_ir::kernel::{Access, Affine, Index, LoopId};

/// What the loops of a kernel are in those of another.
pub(super) type Substitution = HashMap<LoopId, Affine>;

/// An index of one kernel's loops in those of another.
fn substitute_affine(a: &Affine, map: &Substitution) -> Affine {
    let mut out = Affine::constant(a.offset.clone());
    for (l, c) in &a.terms {
        match map.get(l) {
            None => out = out.plus(*l, c.clone()),
            Some(inner) => {
                out = out.shifted(inner.offset.clone() * c.clone());
                for (k, d) in &inner.terms {
                    out = out.plus(*k, d.clone() * c.clone());
                }
            }
        }
    }
    out
}

/// An access of one kernel's loops in those of another.
pub(super) fn substitute_access(access: &Access, map: &Substitution) -> Access {
    let index = access.index.iter().map(|i| match i {
        Index::Affine(a) => Index::Affine(substitute_affine(a, map)),
        Index::Gathered(g) => Index::Gathered(Box::new(substitute_access(g, map))),
    });
    Access { buffer: access.buffer, index: index.collect(), otherwise: access.otherwise }
}
