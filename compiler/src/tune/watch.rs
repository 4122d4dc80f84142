//! Who is told how far the measuring is.

/// Hears how far the work is.
pub trait Watch {
    /// `done` of `of` steps of `what`.
    fn progress(&mut self, what: &str, done: u64, of: u64);
}

/// Hears nothing.
impl Watch for () {
    fn progress(&mut self, _: &str, _: u64, _: u64) {}
}
