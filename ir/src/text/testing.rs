//! Arbitrary names, dimensions, elements and tensors for property tests.

use proptest::prelude::*;

use crate::dim::Dim;
use crate::kernel::Scalar;
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

/// Names as models have them: identifiers, paths, numbers, reserved words, anything.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9_]{0,3}",
        "[0-9]{1,3}",
        "[a-z]/[a-z]\\.[0-9]",
        Just("max".to_owned()),
        Just("acc".to_owned()),
        Just("nan".to_owned()),
        Just(String::new()),
        Just("quo\"te\\ \n\u{7f}é".to_owned()),
        any::<String>(),
    ]
}

/// Dimensions over the symbols `s`, `t` and one that is no identifier.
pub(crate) fn dim() -> impl Strategy<Value = Dim> {
    let leaf = prop_oneof![
        (-5i64..20).prop_map(Dim::Const),
        Just(Dim::symbol("s")),
        Just(Dim::symbol("t")),
        Just(Dim::symbol("a b")),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            pair.clone().prop_map(|(a, b)| a + b),
            pair.clone().prop_map(|(a, b)| a - b),
            pair.clone().prop_map(|(a, b)| a * b),
            pair.clone().prop_map(|(a, b)| a.max_with(&b)),
            pair.prop_map(|(a, b)| a.min_with(&b)),
            (inner, 1i64..7).prop_map(|(a, b)| a.floor_div(&Dim::Const(b)).unwrap_or(Dim::Const(1))),
        ]
    })
}

/// Extents of tensors with data and, sometimes, symbols.
pub(crate) fn ty() -> impl Strategy<Value = TensorType> {
    let extent = prop_oneof![3 => (0i64..5).prop_map(Dim::Const), 1 => dim()];
    (dtype(), prop::collection::vec(extent, 0..4))
        .prop_map(|(dtype, dims)| TensorType::new(dtype, Shape(dims)))
}

/// Element types that tensors can have.
pub(crate) fn dtype() -> impl Strategy<Value = DType> {
    prop::sample::select(DType::ALL.into_iter().filter(|d| *d != DType::String).collect::<Vec<_>>())
}

/// Elements of types that fit 64 bits, any bits.
pub(crate) fn scalar() -> impl Strategy<Value = Scalar> {
    (dtype().prop_filter("64 bits", |d| *d != DType::C128), any::<u64>())
        .prop_map(|(dtype, bits)| Scalar { dtype, bits: dtype.stored(bits >> (64 - dtype.bits())) })
}

/// Tensors of any bytes, uniform ones among them.
pub(crate) fn tensor() -> impl Strategy<Value = Tensor> {
    (dtype(), prop::collection::vec(0usize..6, 0..3), any::<u64>(), any::<bool>()).prop_map(
        |(dtype, shape, seed, uniform)| {
            let bytes = dtype.bytes_of(shape.iter().product());
            let byte = |i: usize| {
                if uniform { seed as u8 } else { (seed.wrapping_mul(i as u64 * 2 + 1) >> 29) as u8 }
            };
            Tensor::new(dtype, shape, (0..bytes).map(byte).collect::<Vec<_>>().into()).expect("bytes fit")
        },
    )
}
