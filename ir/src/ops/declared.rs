//! What operators ask to find an operand in the declared shape of a result: see `checked`.

use crate::op::Fact;
use crate::tensor::Tensor;

/// The extents of a result whose declared shape is known.
pub(crate) fn extents(outputs: &[Option<&Fact>], i: usize) -> Option<Vec<i64>> {
    let shape = outputs.get(i).copied().flatten()?.shape.as_const()?;
    Some(shape.into_iter().map(|n| n as i64).collect())
}

/// A vector as the constant for an operand, in the operand's type and shape.
pub(crate) fn constant(operand: &Fact, values: &[i64]) -> Option<Tensor> {
    let shape = operand.shape.as_const().filter(|s| s.iter().product::<usize>() == values.len())?;
    super::values::from_f64s(operand.dtype, &shape, values.iter().map(|v| *v as f64).collect()).ok()
}

/// The axes of `from` without which it is `to`, so many of them; `None` where there are several such sets. Extents of 1 that could
/// be among them make no difference.
pub(crate) fn removed(from: &[i64], to: &[i64], count: usize) -> Option<Vec<usize>> {
    if from.len() > 16 || from.len() != to.len() + count {
        return None;
    }
    let sets = (0u32..1 << from.len()).filter(|set| set.count_ones() as usize == count);
    let axes = |set: u32| (0..from.len()).filter(move |i| set >> i & 1 == 1);
    let fits = sets
        .filter(|set| (0..from.len()).filter(|i| set >> i & 1 == 0).map(|i| from[i]).eq(to.iter().copied()));
    let mut found = fits.map(|set| axes(set).collect::<Vec<usize>>());
    let first = found.next()?;
    let large = |set: &[usize]| set.iter().copied().filter(|i| from[*i] != 1).collect::<Vec<usize>>();
    found.all(|other| large(&other) == large(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_are_gone_are_found_where_there_is_one_answer() {
        assert_eq!(removed(&[3, 2, 4], &[3, 4], 1), Some(vec![1]));
        assert_eq!(removed(&[3, 2, 2], &[3, 2], 1), None);
        assert_eq!(removed(&[1, 2, 1], &[1, 2], 1), Some(vec![2]));
        assert!(removed(&[1, 1, 2], &[1, 2], 1).is_some());
        assert_eq!(removed(&[3, 2], &[], 2), Some(vec![0, 1]));
        assert_eq!(removed(&[3, 2], &[4], 1), None);
    }
}
