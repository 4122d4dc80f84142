//! What can make a kernel's code.

use kiln_ir::kernel::plan::{Provider, Schedule};
use kiln_targets::Target;
use kiln_targets::generic::clif::LANES;

/// Providers for a schedule, the fastest first. Whether the encoder's registers are enough for a kernel shows when it
/// is tried.
pub fn providers(schedule: &Schedule, target: &Target) -> Vec<Provider> {
    let cranelift = Provider::Portable { vector_bytes: 4 * LANES as u32 };
    match schedule {
        Schedule::Scalar { .. } => vec![Provider::Plain],
        _ if target.encoder => {
            vec![Provider::Encoder { vector_bytes: target.vector_bytes as u32 }, cranelift]
        }
        _ => vec![cranelift],
    }
}
