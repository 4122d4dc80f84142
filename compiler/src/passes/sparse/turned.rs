//! Products whose results are read row by row: rows become lanes by a copy before the product, and rows again by one behind it.
//!
//! ```text
//!   x[m, k]  ->  x.turned[k, m]       y.turned[o, m] = sum over k of x.turned[k, m] * w[k, o]       ->  y[m, o]
//! ```
//!
//! So the elements of a recurrent layer meet its weights, all at once: its steps read what comes of them a row at a time.

use kiln_ir::kernel::{
    Access, Affine, BufferKind, Expr, Form, Index, Kernel, Loop, LoopId, Program, Role, Store,
};
use kiln_ir::{DType, Error, Result, Shape, TensorType};

use super::super::substitute::{Substitution, substitute_access};

/// The loop of rows of a product with columns `o`: the only one beside these with more than one iteration, which nothing that
/// follows the sum depends on.
pub(super) fn rows(program: &Program, kernel: &Kernel, o: LoopId) -> Option<LoopId> {
    let Form::Contract { lhs, store, .. } = &kernel.form else { return None };
    let more = |l: &LoopId| *l != o && !kernel.loop_(*l).extent.is(1);
    let mut others = kernel.loops_of(Role::Parallel).into_iter().filter(more);
    let row = others.next().filter(|_| others.next().is_none())?;
    kernel.loop_(row).extent.as_const()?;
    let mut same = lhs.uses(row) && lhs.otherwise.is_none() && store.to.uses(row);
    store.value.for_each_access(&mut |a| same &= !a.uses(row));
    let float = |access: &Access| program.buffer(access.buffer).ty.dtype == DType::F32;
    (same && float(lhs) && float(&store.to)).then_some(row)
}

/// The copy, the product and the copy for the place of kernel `i`, whose loops of columns, depth and rows are these.
pub(super) fn rewrite(program: &mut Program, i: usize, [o, k, row]: [LoopId; 3]) -> Result<Vec<Kernel>> {
    let kernel = program.kernel(i).clone();
    let Form::Contract { acc, lhs, rhs, store } = &kernel.form else {
        return Err(Error::internal("a product that is none"));
    };
    let rows = kernel.loop_(row).extent.clone();
    let mut temp = |access: &Access, by: LoopId| {
        let name = format!("{}.turned", program.buffer(access.buffer).name);
        let shape = Shape(vec![kernel.loop_(by).extent.clone(), rows.clone()]);
        program.add_buffer(&name, TensorType::new(DType::F32, shape), BufferKind::Temp)
    };
    let (x, y) = (temp(lhs, k), temp(&store.to, o));
    let list = |loops: &[(LoopId, Role)]| -> Vec<Loop> {
        loops.iter().map(|(l, role)| Loop { role: *role, ..kernel.loop_(*l).clone() }).collect()
    };
    // All other loops have one iteration.
    let map = |loops: &[LoopId]| -> Substitution {
        let all = (0..kernel.loops.len() as u16).map(LoopId);
        let place = |l: LoopId| match loops.iter().position(|other| *other == l) {
            Some(at) => Affine::of(LoopId(at as u16)),
            None => Affine::constant(0i64),
        };
        all.map(|l| (l, place(l))).collect()
    };
    let at = |buffer, loops: [u16; 2]| Access::new(buffer, loops.map(|l| Index::from(LoopId(l))).to_vec());
    let parallel = |loops: [LoopId; 2]| list(&loops.map(|l| (l, Role::Parallel)));

    let from = substitute_access(lhs, &map(&[k, row]));
    let before = (parallel([k, row]), Form::Rearrange { from, to: at(x, [0, 1]) });
    let inside = map(&[o, row, k]);
    let value = store.value.map(&mut |leaf| match leaf {
        Expr::Load(a) => Some(Expr::Load(substitute_access(a, &inside))),
        _ => None,
    });
    let form = Form::Contract {
        acc: *acc,
        lhs: at(x, [2, 1]),
        rhs: substitute_access(rhs, &inside),
        store: Store { to: at(y, [0, 1]), value },
    };
    let product = (list(&[(o, Role::Parallel), (row, Role::Parallel), (k, Role::Reduce)]), form);
    let to = substitute_access(&store.to, &map(&[row, o]));
    let behind = (parallel([row, o]), Form::Rearrange { from: at(y, [1, 0]), to });
    let mut name = |suffix: &str| program.kernel_name(&format!("{}.{suffix}", kernel.name));
    let names = [name("turned"), kernel.name.clone(), name("rows")];
    let all = [before, product, behind].into_iter().zip(names);
    Ok(all.map(|((loops, form), name)| Kernel { name, nodes: kernel.nodes.clone(), loops, form }).collect())
}
