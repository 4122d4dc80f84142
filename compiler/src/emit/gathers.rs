//! What kernels read by indices that arrive at run time, in words.

use kiln_ir::kernel::plan::{FlatAccess, Gather, PlannedKernel};

/// What a kernel reads or writes by indices that arrive at run time.
pub(super) fn gathers(kernel: &PlannedKernel) -> Vec<String> {
    let accesses = kernel.form.loads().into_iter().chain(kernel.form.stores());
    let told = |access: &FlatAccess| {
        let tell =
            |g: &Gather| format!("'{}' is an index into {} of '{}'", g.index.name, elements(g), access.name);
        access.gathers.iter().map(tell).collect::<Vec<_>>()
    };
    let mut list: Vec<String> = accesses.flat_map(told).collect();
    list.dedup();
    list
}

fn elements(gather: &Gather) -> String {
    match gather.extent.as_const() {
        Some(1) => "the one element of an axis".to_owned(),
        _ => format!("the {} elements of an axis", gather.extent),
    }
}
