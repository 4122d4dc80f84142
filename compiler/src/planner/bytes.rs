//! Products of bytes and words: depth goes by fours.

use kiln_ir::Dim;
use kiln_ir::format::packed::Steps;
use kiln_ir::kernel::{Form, Loop, Role};
use kiln_targets::Target;

use crate::flatten::{FlatKernel, cut_loop};
use crate::schedule::{contract, extent_of, stride_of};

/// Which steps of depth of a contraction's weights lie together.
pub(super) fn steps(kernel: &FlatKernel, target: &Target) -> Steps {
    match (contract::is_bytes(kernel), target.dot4) {
        (false, _) if contract::is_words(kernel) => Steps::Words,
        (false, _) => Steps::Single,
        (true, true) => Steps::Fours,
        (true, false) => Steps::Pairs,
    }
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
