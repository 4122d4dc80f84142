//! Schedules: pure functions of a flat kernel, a target and what was measured ([`Choices`]).
//!
//! Each returns the schedule with the reason for it, or the reason why the form cannot be run that way; the
//! fallback, plain loops, always can.

mod borders;
pub mod choices;
mod chosen;
pub mod contract;
pub mod cost;
pub mod digits;
pub mod dots;
pub mod grain;
pub mod lanes;
pub mod nest;
pub mod partition;
mod pixels;
mod plane;
mod provider;
mod quads;
mod repeats;
pub mod roles;
mod shared;
pub mod sparse;
pub mod stream;
mod strides;
pub mod taps;
pub mod transform;

use kiln_ir::kernel::plan::Schedule;
use kiln_ir::kernel::{Form, Role};
use kiln_targets::Target;

use crate::flatten::{FlatKernel, loops_of};
pub use choices::Choices;
pub use chosen::Chosen;
use lanes::Lanes;
pub use provider::providers;
pub use shared::{options, shared};
pub(crate) use strides::{by_falling_stride, extent_of, stride_of};

/// The schedule of any kernel but a contraction with constant weights, whose packing [`contract`] decides.
pub fn choose(kernel: &FlatKernel, target: &Target, choices: &Choices) -> Chosen {
    let vector = match &kernel.form {
        Form::Contract { .. } => match lanes::choose(kernel, false, Some(kernel), target) {
            Some(Lanes::Depth) => dots::choose(kernel, target),
            _ => stream::choose(kernel, target).or_else(|_| contract::choose(kernel, target, None, choices)),
        },
        Form::Transform { .. } => transform::choose(kernel),
        Form::Procedure(_) => Err("statements in order".to_owned()),
        Form::Reduce { .. } => {
            digits::choose(kernel, target).or_else(|_| nest::choose(kernel, target, choices))
        }
        _ => nest::choose(kernel, target, choices),
    };
    vector.unwrap_or_else(|reason| Chosen { schedule: plain(kernel), why: format!("plain loops: {reason}") })
}

/// Plain loops: parallel ones by falling stride of the first store, then reduced ones by falling stride of the
/// first load.
pub fn plain(kernel: &FlatKernel) -> Schedule {
    let stores = kernel.form.stores();
    let loads = kernel.form.loads();
    let mut order = by_falling_stride(loops_of(&kernel.loops, Role::Parallel), stores.first().copied());
    order.extend(by_falling_stride(loops_of(&kernel.loops, Role::Reduce), loads.first().copied()));
    Schedule::Scalar { order }
}
