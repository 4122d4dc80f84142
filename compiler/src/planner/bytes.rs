//! Products of bytes and words: depth goes by fours, or by eights.

use kiln_ir::format::packed::{Panels, Steps, two_fit};
use kiln_ir::kernel::{Form, Loop, Role};
use kiln_ir::{DType, Dim, Tensor};
use kiln_targets::Target;

use crate::flatten::{FlatKernel, cut_loop, loops_of};
use crate::schedule::{contract, extent_of, roles, stride_of};

/// Which steps of depth of a contraction's weights lie together. `panels` are of one column, and the elements their source.
pub(super) fn steps(
    kernel: &FlatKernel,
    target: &Target,
    panels: &Panels,
    elements: &dyn Fn() -> kiln_ir::Result<Tensor>,
) -> Steps {
    let fit = || target.adds_products_of_bytes && elements().is_ok_and(|t| pairs_fit(panels, &t));
    match (roles::is_bytes(kernel), target.multiplies_fours()) {
        (false, _) if roles::is_crossed(kernel, target) => Steps::Crossed,
        (false, _) if roles::is_words(kernel) => Steps::Words,
        (false, _) => Steps::Single,
        (true, true) if goes_by_eights(kernel, target) => Steps::Eights,
        (true, true) => Steps::Fours,
        // The sum of two products of the least bytes is no number of 16 bits.
        (true, false) if roles::is_signed(kernel) => {
            let least = elements().is_ok_and(|t| t.data.contains(&(i8::MIN as u8)));
            if least || !target.multiplies_long { Steps::Single } else { Steps::Words }
        }
        // What fits two by two always may fit four by four as a rule.
        (true, false) => match watched(kernel, target) {
            Some(run) => Steps::Watched(run),
            None if fit() => Steps::Fours,
            None => Steps::Pairs,
        },
    }
}

/// Whether rows and columns are multiplied two by two, of which a single row would leave half.
fn goes_by_eights(kernel: &FlatKernel, target: &Target) -> bool {
    let Form::Contract { lhs, .. } = &kernel.form else { return false };
    let Ok(roles) = roles::roles(kernel, true) else { return false };
    let rows = roles.rows.iter().any(|l| extent_of(kernel, *l) != Some(1));
    let depth = roles.depth.last().filter(|l| stride_of(lhs, **l) == Some(1));
    let depth = depth.and_then(|l| extent_of(kernel, *l)).unwrap_or(0);
    target.dot8 && lhs.dtype == DType::U8 && rows && depth % Steps::Eights.of_depth() as i64 == 0
}

/// Steps of depth whose bytes are looked at together: as many as divide what lies side by side in lhs, up to a vector.
fn watched(kernel: &FlatKernel, target: &Target) -> Option<u8> {
    let Form::Contract { lhs, .. } = &kernel.form else { return None };
    let depth = loops_of(&kernel.loops, Role::Reduce).into_iter().find(|l| stride_of(lhs, *l) == Some(1))?;
    let extent = extent_of(kernel, depth)?;
    let fits = |run: &u8| usize::from(*run) <= target.vector_bytes && extent % i64::from(*run) == 0;
    [64, 32, contract::LEAST_RUN].into_iter().find(fits).filter(|_| target.adds_products_of_bytes)
}

/// Whether products of unsigned bytes with these weights fit 16 bits two by two along the depth.
fn pairs_fit(panels: &Panels, weights: &Tensor) -> bool {
    let bytes = Tensor { dtype: DType::U8, ..weights.clone() };
    let of_columns = bytes.as_slice::<u8>().and_then(|bytes| panels.encode(&bytes));
    let fit = |of_columns: Vec<u8>| of_columns.chunks_exact(2).all(|w| two_fit(w[0] as i8, w[1] as i8));
    of_columns.is_ok_and(fit)
}

/// Cuts the loop through depth that lies side by side in lhs into fours, and each of these into two pairs: `k` becomes
/// `4 k + 2 pair + step`. Of watched bytes the fours of a run have a loop of their own, and so have the two of an eight.
pub(super) fn cut(kernel: &mut FlatKernel, steps: Steps) -> Result<(), String> {
    let roles = roles::roles(kernel, true)?;
    let Form::Contract { lhs, .. } = &kernel.form else { return Err("no contraction".to_owned()) };
    let innermost = roles.depth.last().copied().ok_or_else(|| "factors without depth".to_owned())?;
    let extent = extent_of(kernel, innermost).unwrap_or(1);
    let run = steps.of_depth() as i64;
    if stride_of(lhs, innermost) != Some(1) || extent % run != 0 {
        return Err(format!(
            "no loop through depth has factors side by side, {run} at a time, in '{}'",
            lhs.name
        ));
    }
    let name = kernel.loops[innermost.0 as usize].name.clone();
    let reduced = |suffix: &str, extent: i64| Loop {
        name: format!("{name}{suffix}"),
        extent: Dim::Const(extent),
        role: Role::Reduce,
    };
    let mut parts = vec![(reduced("p", 2), 2), (reduced("s", 2), 1)];
    if matches!(steps, Steps::Watched(_) | Steps::Eights) {
        parts.insert(0, (reduced("g", run / 4), 4));
    }
    cut_loop(kernel, innermost, extent / run, run, parts);
    Ok(())
}
