//! What Kiln's quantiser and pruner share: models run on data, and what is to be known of their layers there.
//!
//! ```text
//!   view, names, constants    a file's nodes, their readers, names for new ones      view.rs, names.rs, constants.rs
//!   layers, window, rows      products with constant weights, as matrices            layers.rs, window.rs, rows.rs
//!   samples, machine, run     data, and models on it                                 samples.rs, machine.rs, run.rs
//!   moments                   means and products of what weights multiply            moments.rs
//!   matrix                    factors of these                                       matrix.rs
//!   evaluate, times           errors and accuracy of a model; its layers' times      evaluate.rs, times.rs
//! ```
//!
//! Models run through the library's interface, with values of theirs as further results.

mod constants;
pub mod evaluate;
pub mod layers;
mod machine;
pub mod matrix;
mod moments;
mod names;
mod rows;
pub mod run;
mod samples;
pub mod times;
mod view;
mod window;

pub use constants::settle_constants;
pub use evaluate::{Evaluator, Verdict};
pub use layers::{Factor, Layer, Left, Weights, is_plain};
pub use machine::Machine;
pub use moments::{Detail, Moments};
pub use names::Names;
pub use rows::{rows, turned};
pub use run::Result;
pub use samples::{Samples, Watch};
pub use view::View;
pub use window::{Pads, Window};
