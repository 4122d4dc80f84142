//! Products of bytes and words: depth goes by fours.

use kiln_ir::format::packed::{Panels, Steps, two_fit};
use kiln_ir::kernel::{Form, Loop, Role};
use kiln_ir::{DType, Dim, Tensor};
use kiln_targets::Target;

use crate::flatten::{FlatKernel, cut_loop};
use crate::schedule::{contract, extent_of, stride_of};

/// Which steps of depth of a contraction's weights lie together. `panels` are of one column, and the elements their source.
pub(super) fn steps(
    kernel: &FlatKernel,
    target: &Target,
    panels: &Panels,
    elements: &dyn Fn() -> kiln_ir::Result<Tensor>,
) -> Steps {
    let fit = || target.adds_products_of_bytes && elements().is_ok_and(|t| pairs_fit(panels, &t));
    match (contract::is_bytes(kernel), target.dot4) {
        (false, _) if contract::is_words(kernel) => Steps::Words,
        (false, _) => Steps::Single,
        (true, true) => Steps::Fours,
        (true, false) if fit() => Steps::Fours,
        (true, false) => Steps::Pairs,
    }
}

/// Whether products of unsigned bytes with these weights fit 16 bits two by two along the depth.
fn pairs_fit(panels: &Panels, weights: &Tensor) -> bool {
    let bytes = Tensor { dtype: DType::U8, ..weights.clone() };
    let of_columns = bytes.as_slice::<u8>().and_then(|bytes| panels.encode(&bytes));
    let fit = |of_columns: Vec<u8>| of_columns.chunks_exact(2).all(|w| two_fit(w[0] as i8, w[1] as i8));
    of_columns.is_ok_and(fit)
}

/// Cuts the loop through depth that lies side by side in lhs into fours, and each of these into two pairs: `k` becomes
/// `4 k + 2 pair + step`.
pub(super) fn cut(kernel: &mut FlatKernel) -> Result<(), String> {
    let roles = contract::roles(kernel, true)?;
    let Form::Contract { lhs, .. } = &kernel.form else { return Err("no contraction".to_owned()) };
    let innermost = roles.depth.last().copied().ok_or_else(|| "factors without depth".to_owned())?;
    let extent = extent_of(kernel, innermost).unwrap_or(1);
    if stride_of(lhs, innermost) != Some(1) || extent % 4 != 0 {
        return Err(format!(
            "no loop through depth has factors side by side, four at a time, in '{}'",
            lhs.name
        ));
    }
    let name = kernel.loops[innermost.0 as usize].name.clone();
    let two =
        |suffix: &str| Loop { name: format!("{name}{suffix}"), extent: Dim::Const(2), role: Role::Reduce };
    cut_loop(kernel, innermost, extent / 4, 4, vec![(two("p"), 2), (two("s"), 1)]);
    Ok(())
}
