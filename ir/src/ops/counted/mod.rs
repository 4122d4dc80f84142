//! Operators that those with sizes that are data are made of. No model has them: their domain is [`DOMAIN`].
//!
//! ```text
//!   %n = Sizes(%count) {names = ["n"]}     the elements of %count, which open dimensions are called by from here on
//!   %y = Prefix(%x, %n) {axes}             the first %n of %x along these axes
//!   %p, %count = Positions(%x) {most}      where %x is not zero, and how often: a column for each, and one for what is too much
//!   %r, %count = Suppression(%boxes, %scores, ..) {each, most}    rows of boxes that are left, and how many: the same
//!   %first, %inverse, %times, %count = Distinct(%x) {axis, sorted, most}  slices that differ: where they are first, and how often
//!   %e = Extents(%x, %wanted) {allowzero}    the extents that a Reshape is asked for: copied, left over or as they are
//! ```

mod chain;
mod distinct;
mod extents;
mod positions;
mod prefix;
mod sizes;
mod suppression;

pub(super) use chain::Chain;
pub(super) use distinct::Groups;
pub use distinct::{DEF as DISTINCT, Distinct};
pub use extents::{DEF as EXTENTS, Extents};
pub(super) use positions::found;
pub use positions::{DEF as POSITIONS, Positions};
pub use prefix::{DEF as PREFIX, Prefix};
pub use sizes::{DEF as SIZES, Sizes};
pub(super) use suppression::extents as suppressed;
pub use suppression::{DEF as SUPPRESSION, Suppression};

/// The domain of operators that passes make.
pub const DOMAIN: &str = "kiln";
