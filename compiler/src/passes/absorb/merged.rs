//! The form of a kernel that takes in its reader.

use kiln_ir::kernel::{Affine, Expr, Form, Store};

use crate::passes::substitute::{Substitution, substitute_access};

/// The form of writer `p`, which takes an epilogue, with the pointwise reader `m` as that.
pub(super) fn merged(m: Form, mut p: Form, map: &Substitution) -> Form {
    let (temp, value) = match &mut p {
        Form::Rearrange { from, to } => (to.buffer, Expr::Load(from.clone())),
        form => match form.parts_mut().stores {
            [store] => (store.to.buffer, std::mem::replace(&mut store.value, Expr::Acc)),
            _ => return p,
        },
    };
    let stores = match m {
        Form::Rearrange { from, to } => vec![Store { to, value: Expr::Load(from) }],
        Form::Map { stores } => stores,
        _ => return p,
    };
    // The last load gets the value itself, others a copy.
    let mut left = 0;
    for store in &stores {
        store.value.for_each_access(&mut |a| left += usize::from(a.buffer == temp));
    }
    let mut value = Some(value);
    let mut take = || {
        left -= 1;
        if left == 0 { value.take() } else { value.clone() }
    };
    let stores: Vec<Store> = stores
        .into_iter()
        .map(|s| Store {
            to: substitute_access(&s.to, map),
            value: s.value.map(&mut |leaf| match leaf {
                Expr::Load(a) if a.buffer == temp => take(),
                Expr::Load(a) => Some(Expr::Load(substitute_access(a, map))),
                Expr::Loop(l) => map.get(l).and_then(Affine::as_loop).map(Expr::Loop),
                _ => None,
            }),
        })
        .collect();
    if !p.is_pointwise() {
        for (own, store) in p.parts_mut().stores.iter_mut().zip(stores) {
            *own = store;
        }
        return p;
    }
    match &stores[..] {
        [Store { to, value: Expr::Load(from) }] => Form::Rearrange { from: from.clone(), to: to.clone() },
        _ => Form::Map { stores },
    }
}
