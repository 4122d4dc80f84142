//! What kernels read by indices that arrive at run time, in words.

use kiln_ir::Dim;
use kiln_ir::kernel::Form;
use kiln_ir::kernel::plan::{FlatAccess, Gather, PlannedKernel};
use kiln_ir::kernel::procedure::{Procedure, Statement};

/// What a kernel reads or writes by indices that arrive at run time.
pub(super) fn gathers(kernel: &PlannedKernel) -> Vec<String> {
    let accesses = kernel.form.loads().into_iter().chain(kernel.form.stores());
    let told = |access: &FlatAccess| {
        let tell = |g: &Gather| {
            format!("'{}' is an index into {} of '{}'", g.index.name, elements(&g.extent), access.name)
        };
        access.gathers.iter().filter(|g| !g.known).map(tell).collect::<Vec<_>>()
    };
    let mut list: Vec<String> = accesses.flat_map(told).collect();
    if let Form::Procedure(p) = &kernel.form {
        list.extend(p.statements().into_iter().filter_map(|s| register(kernel, p, s)));
    }
    list.dedup();
    list
}

/// What a register is set to that is read.
fn register(kernel: &PlannedKernel, p: &Procedure<FlatAccess>, s: &Statement) -> Option<String> {
    let Statement::Set(l, term) = s else { return None };
    let mut from = None;
    p.terms[*term].for_each_access(&mut |a| from = from.or(Some(a)));
    let into = kernel.form.stores().into_iter().find(|a| !a.strides[l.0 as usize].is(0))?;
    let extent = &kernel.loops[l.0 as usize].extent;
    Some(format!("'{}' is an index into {} of '{}'", from?.name, elements(extent), into.name))
}

fn elements(extent: &Dim) -> String {
    match extent.as_const() {
        Some(1) => "the one element of an axis".to_owned(),
        _ => format!("the {extent} elements of an axis"),
    }
}
