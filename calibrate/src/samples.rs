//! What models are run on.

use kiln_compiler::{Problem, Tensor};

/// Inputs of a model, sample by sample. All samples have the same shapes.
pub trait Samples {
    /// How many there are; at least one.
    fn count(&self) -> usize;

    /// The inputs of sample `i` by name, one for each of the model.
    ///
    /// # Errors
    ///
    /// What is wrong with the data, naming the file.
    fn sample(&self, i: usize) -> Result<Vec<(String, Tensor)>, Problem>;

    /// What messages call sample `i`.
    fn name(&self, i: usize) -> String;
}

/// Sees how far the work is.
pub trait Watch {
    /// `done` of `of` parts of something are done.
    fn at(&self, what: &str, done: usize, of: usize);
}

/// Sees nothing.
impl Watch for () {
    fn at(&self, _: &str, _: usize, _: usize) {}
}
