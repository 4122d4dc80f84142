//! Weights as a matrix: a row for each channel of results.

use kiln_ir::Tensor;

use crate::layers::Weights;
use crate::run::Result;

/// The rows of a layer's weights.
pub fn rows(tensor: &Tensor, weights: &Weights) -> Result<Vec<f32>> {
    let values = tensor.as_slice::<f32>()?;
    Ok(match weights.axis {
        0 => values.into_owned(),
        _ => turned(&values, weights.depth, weights.rows),
    })
}

/// The transpose of a matrix.
pub fn turned<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}
