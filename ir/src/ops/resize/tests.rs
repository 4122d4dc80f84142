//! The specification's examples, and every mode at every point.

use super::*;
use crate::ops::testing::{parse, run, sample};

fn scales(list: &[f32]) -> Tensor {
    Tensor::from_vec(&[list.len()], list.to_vec())
}

/// `[1, 1, 2, 2]` times 2 along both of its last axes.
fn doubled(list: &[(&str, Attr)]) -> Vec<f64> {
    let op = parse("Resize", 19, list, 3, 1).unwrap();
    let x = Tensor::from_vec(&[1, 1, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
    let (roi, scales) = (scales(&[]), scales(&[1.0, 1.0, 2.0, 2.0]));
    run(&*op, &[&x, &roi, &scales], &[1, 2]).unwrap()[0].to_f64s().unwrap()
}

fn text(value: &str) -> Attr {
    Attr::Str(value.to_owned())
}

#[test]
fn the_examples_of_the_specification() {
    let nearest = doubled(&[("mode", text("nearest"))]);
    assert_eq!(nearest, [1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4.]);
    let linear = doubled(&[("mode", text("linear"))]);
    assert_eq!(linear[..8], [1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5]);
    let corners = [("mode", text("linear")), ("coordinate_transformation_mode", text("align_corners"))];
    let corners = doubled(&corners);
    for (got, want) in corners.iter().zip([1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0, 5.0 / 3.0]) {
        assert!((got - want).abs() < 1e-6, "{corners:?}");
    }
}

#[test]
fn every_mode_is_the_same_at_every_point() {
    let modes = ["nearest", "linear", "cubic"];
    let coordinates: Vec<&str> = COORDINATES.iter().map(|(name, _)| *name).collect();
    let x = sample(&[2, 3, 5, 4], 7);
    let roi = scales(&[0.0, 0.0, 0.2, -0.1, 1.0, 1.0, 0.9, 1.2]);
    for mode in modes {
        for coordinates in &coordinates {
            for (antialias, factors) in [(0, [1.0, 1.0, 2.0, 2.5]), (1, [1.0, 1.0, 0.6, 1.5])] {
                let antialias = if mode == "nearest" { 0 } else { antialias };
                let list = [
                    ("mode", text(mode)),
                    ("coordinate_transformation_mode", text(coordinates)),
                    ("antialias", Attr::Int(antialias)),
                    ("exclude_outside", Attr::Int(antialias)),
                    ("extrapolation_value", Attr::Float(10.0)),
                ];
                let op = parse("Resize", 19, &list, 3, 1).unwrap();
                run(&*op, &[&x, &roi, &scales(&factors)], &[1, 2]).unwrap();
            }
        }
    }
}

#[test]
fn sizes_may_keep_the_ratio() {
    let x = sample(&[1, 1, 4, 8], 3);
    let sizes = Tensor::from_vec(&[2], vec![6i64, 6]);
    for (policy, want) in [("stretch", [6, 6]), ("not_larger", [3, 6]), ("not_smaller", [6, 12])] {
        let list = [("axes", Attr::Ints(vec![2, -1])), ("keep_aspect_ratio_policy", text(policy))];
        let op = parse("Resize", 19, &list, 4, 1).unwrap();
        let none = scales(&[]);
        let y = run(&*op, &[&x, &none, &none, &sizes], &[1, 2, 3]).unwrap();
        assert_eq!(y[0].shape, [1, 1, want[0], want[1]], "{policy}");
    }
}

#[test]
fn the_version_before_floors() {
    let op = parse("Resize", 10, &[], 2, 1).unwrap();
    let x = Tensor::from_vec(&[4], vec![1i8, 2, 3, 4]);
    let y = run(&*op, &[&x, &scales(&[0.6])], &[1]).unwrap();
    assert_eq!(y[0], Tensor::from_vec(&[2], vec![1i8, 2]));
}

#[test]
fn integers_are_truncated() {
    let op = parse("Resize", 13, &[("mode", text("linear"))], 3, 1).unwrap();
    let x = Tensor::from_vec(&[2], vec![0u8, 255]);
    let y = run(&*op, &[&x, &scales(&[]), &scales(&[2.0])], &[1, 2]).unwrap();
    assert_eq!(y[0], Tensor::from_vec(&[4], vec![0u8, 63, 191, 255]));
}

#[test]
fn what_does_not_fit_is_invalid() {
    let op = parse("Resize", 19, &[], 4, 1).unwrap();
    let x = Fact::of(&sample(&[4, 4], 3));
    let list = |n: usize, value: f32| Fact::of(&scales(&vec![value; n]));
    let sizes = Fact::of(&Tensor::from_vec(&[2], vec![2i64, 2]));
    let none = list(0, 1.0);
    for (scales, sizes) in [
        (&list(3, 2.0), &none),
        (&list(2, 0.0), &none),
        (&list(2, f32::NAN), &none),
        (&list(2, 1e30), &none),
        (&list(2, 2.0), &sizes),
        (&none, &none),
    ] {
        assert!(op.infer(&[Some(&x), None, Some(scales), Some(sizes)]).is_err(), "{scales:?}");
    }
}
