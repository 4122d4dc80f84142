//! What a program takes for granted of its open dimensions.
//!
//! Shape inference lets pass what only a run can tell: extents of operands that must be the same, a number of elements that
//! must divide. What kernels index says what of it matters: an index that cannot be shown to stay inside of its axis for all
//! sizes must end where the axis ends. Where elements that are left over mean nothing, as behind those that a slice takes, it must
//! end inside. A run checks that before its first kernel.

use std::collections::HashSet;

use super::BufferId;
use super::access::Access;
use super::form::Kernel;
use super::program::Program;
use crate::dim::Dim;
use crate::error::{Error, Result};

/// Expressions that must be 0 in every run, each once. Kernels that write `parts` take some of the elements that they read.
///
/// # Errors
///
/// Unsupported, where it cannot be told on which side of its axis an index may leave it.
pub fn assumptions(program: &Program, parts: &HashSet<BufferId>) -> Result<Vec<Dim>> {
    let mut found = Vec::new();
    if program.bounds.is_empty() {
        return Ok(found);
    }
    for kernel in program.kernels() {
        let (loads, stores) = (kernel.form.loads(), kernel.form.stores());
        let takes_part = stores.iter().any(|to| parts.contains(&to.buffer));
        let pointwise = kernel.form.is_pointwise();
        // What a sum writes may be every other row: others write the rest.
        let all = loads.into_iter().map(|from| (from, takes_part));
        for (access, part) in all.chain(stores.into_iter().map(|to| (to, !pointwise))) {
            of_access(program, kernel, (access, part), &mut found)
                .map_err(|e| e.at(&kernel.name, kernel.form.name()))?;
        }
    }
    Ok(found)
}

/// Adds what an access assumes, which is to a part of its buffer or to all that there is. Axes with an index read at run time are
/// tested there, and so are those of accesses with padding.
fn of_access(
    program: &Program,
    kernel: &Kernel,
    (access, part): (&Access, bool),
    found: &mut Vec<Dim>,
) -> Result<()> {
    let buffer = program.buffer(access.buffer);
    for (index, extent) in access.index.iter().zip(buffer.ty.shape.iter()) {
        let affine = match index {
            super::Index::Gathered(inner) => {
                of_access(program, kernel, (inner, false), found)?;
                continue;
            }
            super::Index::Affine(_) if access.otherwise.is_some() => continue,
            super::Index::Affine(affine) => affine,
        };
        let open = || {
            let text = format!(
                "an index into '{}', whose extent is {extent}, is not known to stay inside",
                buffer.name
            );
            Error::unsupported(text).hint("bind its dimensions with --dim")
        };
        let (first, last) =
            affine.ends(|l| kernel.loop_(l).extent.clone(), &program.bounds).ok_or_else(open)?;
        let least = |d: &Dim| d.range(&program.bounds).map_or(-1, |r| r.0);
        if least(&first) < 0 {
            return Err(open());
        }
        let left = extent.clone() - Dim::Const(1) - last;
        // A window may leave rows over; what a copy takes is all that there is, as a number of elements that must divide.
        let inside = match kernel.form.is_pointwise() && !part {
            true => left.terms_range(&program.bounds).is_some_and(|r| r.0 >= 0),
            false => least(&left) >= 0,
        };
        let left = if part { left.min_with(&Dim::Const(0)) } else { left };
        if left.as_const().is_none() && !inside && !found.contains(&left) {
            found.push(left);
        }
    }
    Ok(())
}
