//! Takes channels out of a model: constants along them lose elements, depthwise convolutions groups.

use std::collections::{BTreeMap, BTreeSet};

use kiln_compiler::{Problem, Tensor};
use kiln_onnx::Document;

use super::lanes::Lanes;

/// Takes out the lanes of `gone`, which are those that stand for all that are the same.
pub(crate) fn shrink(
    document: &mut Document,
    lanes: &Lanes,
    gone: &BTreeSet<usize>,
) -> kiln_calibrate::Result<()> {
    // By constant and axis: the elements that stay.
    let mut kept: BTreeMap<&str, Vec<(usize, Vec<usize>)>> = BTreeMap::new();
    for follows in &lanes.follows {
        let all = follows.lanes.iter().enumerate();
        let stay: Vec<usize> =
            all.filter(|(_, l)| !gone.contains(&lanes.root(**l))).map(|(i, _)| i).collect();
        if stay.len() < follows.lanes.len() {
            kept.entry(&follows.constant).or_default().push((follows.axis, stay));
        }
    }
    for (name, axes) in kept {
        let Some(mut tensor) = document.constant(name).cloned() else { continue };
        for (axis, stay) in axes {
            tensor = part(&tensor, axis, &stay)?;
        }
        document.set_constant(name, tensor);
    }
    document.forget_types();
    Ok(())
}

/// How many groups depthwise convolutions have now, by their result.
pub(crate) fn groups(lanes: &Lanes, gone: &BTreeSet<usize>) -> Vec<(String, i64)> {
    let left = |l: &Vec<usize>| l.iter().filter(|l| !gone.contains(&lanes.root(**l))).count() as i64;
    lanes.depthwise.iter().map(|(output, lanes)| (output.clone(), left(lanes))).collect()
}

/// Some elements along an axis.
fn part(tensor: &Tensor, axis: usize, stay: &[usize]) -> Result<Tensor, Problem> {
    let extent = tensor.shape[axis];
    let outer: usize = tensor.shape[..axis].iter().product();
    let bytes = tensor.data.len() / (outer * extent).max(1);
    let mut data = Vec::with_capacity(outer * stay.len() * bytes);
    for o in 0..outer {
        for i in stay {
            let at = (o * extent + i) * bytes;
            data.extend_from_slice(&tensor.data[at..at + bytes]);
        }
    }
    let mut shape = tensor.shape.clone();
    shape[axis] = stay.len();
    Tensor::new(tensor.dtype, shape, data.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_axis() {
        let t = Tensor::from_vec(&[2, 3, 2], (0..12).map(|i| i as f32).collect());
        let p = part(&t, 1, &[0, 2]).unwrap();
        assert_eq!(p.shape, [2, 2, 2]);
        assert_eq!(p.to_f64s().unwrap(), [0.0, 1.0, 4.0, 5.0, 6.0, 7.0, 10.0, 11.0]);
        assert_eq!(part(&t, 0, &[1]).unwrap().to_f64s().unwrap(), [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        assert_eq!(part(&t, 2, &[]).unwrap().shape, [2, 3, 0]);
    }
}
