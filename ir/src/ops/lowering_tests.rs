//! Every elementwise and data movement operator: what its kernels compute is what its interpreter computes.

use super::testing::{ints, parse, run};
use crate::kernel::Scalar;
use crate::numerics::Number;
use crate::op::Attr;
use crate::tensor::Tensor;
use crate::types::DType;

/// Numbers of both signs, and zero, that every type of at least 8 bits holds.
fn numbers(dtype: DType, shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let mut b = super::elements::Builder::new(dtype, shape);
    for i in 0..count {
        let value = (i * 7 % 11) as i64 - 4;
        b.push_bits(match dtype.is_float() {
            true => Scalar::of(dtype, value as f64 * 0.25).bits,
            false => Number::Int(value.into()).to_bits(dtype),
        });
    }
    b.finish().unwrap()
}

fn vector(values: &[i64]) -> Tensor {
    Tensor::from_vec(&[values.len()], values.to_vec())
}

#[test]
fn one_input() {
    let x = numbers(DType::F32, &[3, 4]);
    for name in [
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "Ceil",
        "Celu",
        "Cos",
        "Cosh",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "IsInf",
        "IsNaN",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Shrink",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Swish",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
        "Dropout",
        "Flatten",
        "Transpose",
        "Shape",
        "Size",
        "Clip",
        "Max",
        "Mean",
        "Squeeze",
    ] {
        let op = parse(name, 24, &[], 1, 1).unwrap();
        run(&*op, &[&x], &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn two_inputs() {
    let cases = |dtype| {
        [
            (numbers(dtype, &[3, 4]), numbers(dtype, &[4])),
            (numbers(dtype, &[3, 1]), numbers(dtype, &[2, 1, 4])),
            (numbers(dtype, &[3, 1]), numbers(dtype, &[1])),
        ]
    };
    let both = [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Equal",
        "Less",
        "LessOrEqual",
        "Greater",
        "GreaterOrEqual",
        "Max",
        "Min",
    ];
    let all = |names: &[&'static str], dtype| {
        for name in names {
            let op = parse(name, 24, &[], 2, 1).unwrap();
            for (a, b) in cases(dtype) {
                for known in [&[][..], &[1]] {
                    run(&*op, &[&a, &b], known).unwrap_or_else(|e| panic!("{name} of {dtype}: {e}"));
                }
            }
        }
    };
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64, DType::I8, DType::U8, DType::U64] {
        all(&both, dtype);
    }
    for dtype in [DType::I32, DType::U8, DType::I64] {
        all(&["BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mod"], dtype);
    }
    all(&["And", "Or", "Xor", "Equal"], DType::Bool);
    all(&["Pow", "Sum", "Mean"], DType::F32);
    let fmod = parse("Mod", 24, &[("fmod", Attr::Int(1))], 2, 1).unwrap();
    run(&*fmod, &[&numbers(DType::F32, &[12]), &numbers(DType::F32, &[12])], &[]).unwrap();
    let prelu = parse("PRelu", 24, &[], 2, 1).unwrap();
    run(&*prelu, &[&numbers(DType::F32, &[3, 4]), &numbers(DType::F32, &[4])], &[]).unwrap();
    for direction in ["LEFT", "RIGHT"] {
        let op = parse("BitShift", 24, &[("direction", Attr::Str(direction.into()))], 2, 1).unwrap();
        run(&*op, &[&numbers(DType::U8, &[12]), &numbers(DType::U8, &[12])], &[]).unwrap();
    }
}

#[test]
fn casts() {
    let types =
        [DType::F32, DType::F64, DType::F16, DType::I64, DType::I32, DType::I8, DType::U8, DType::Bool];
    for from in types {
        for to in types {
            let op = parse("Cast", 24, &[("to", Attr::Int(to.to_onnx().into()))], 1, 1).unwrap();
            run(&*op, &[&numbers(from, &[12])], &[]).unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
        }
    }
}

#[test]
fn data_movement() {
    let x = numbers(DType::F32, &[2, 8, 3, 4]);
    let check = |name: &str, list: &[(&str, Attr)], more: &[&Tensor], outputs| {
        let op = parse(name, 24, list, 1 + more.len(), outputs).unwrap();
        let inputs: Vec<&Tensor> = std::iter::once(&x).chain(more.iter().copied()).collect();
        let known: Vec<usize> = (1..inputs.len()).collect();
        run(&*op, &inputs, &known).unwrap_or_else(|e| panic!("{name} {list:?} {more:?}: {e}"));
    };
    check("Transpose", &[("perm", ints(&[2, 0, 3, 1]))], &[], 1);
    for shape in [&[16, 12][..], &[-1], &[2, 4, 2, 12], &[3, 64], &[0, 0, -1], &[12, 16, 1]] {
        check("Reshape", &[], &[&vector(shape)], 1);
    }
    check("Unsqueeze", &[], &[&vector(&[0, -1])], 1);
    check("Slice", &[], &[&vector(&[1, -1]), &vector(&[9, -9]), &vector(&[1, 3]), &vector(&[3, -2])], 1);
    check("Slice", &[], &[&vector(&[5]), &vector(&[2])], 1);
    check("Concat", &[("axis", Attr::Int(1))], &[&numbers(DType::F32, &[2, 1, 3, 4]), &x], 1);
    check("Split", &[("axis", Attr::Int(1))], &[], 3);
    check("Split", &[("axis", Attr::Int(-1))], &[&vector(&[1, 0, 3])], 3);
    check("Gather", &[("axis", Attr::Int(1))], &[&Tensor::from_vec(&[1, 2], vec![3i64, -1])], 1);
    check("Gather", &[("axis", Attr::Int(2))], &[&Tensor::scalar(-2i64)], 1);
    check("Expand", &[], &[&vector(&[3, 1, 8, 1, 4])], 1);
    check("Tile", &[], &[&vector(&[2, 1, 3, 2])], 1);
    for mode in ["constant", "edge", "reflect", "wrap"] {
        check("Pad", &[("mode", Attr::Str(mode.into()))], &[&vector(&[0, 1, 2, 0, 1, -1, 1, 3])], 1);
    }
    check("DepthToSpace", &[("blocksize", Attr::Int(2))], &[], 1);
    check("DepthToSpace", &[("blocksize", Attr::Int(2)), ("mode", Attr::Str("CRD".into()))], &[], 1);
    check("SpaceToDepth", &[("blocksize", Attr::Int(1))], &[], 1);
}

#[test]
fn several_kinds_of_inputs() {
    let (c, x) = (Tensor::from_bools(&[3, 1], [true, false, true]), numbers(DType::F32, &[3, 4]));
    let op = parse("Where", 24, &[], 3, 1).unwrap();
    run(&*op, &[&c, &x, &Tensor::scalar(2f32)], &[]).unwrap();
    let op = parse("Clip", 24, &[], 3, 1).unwrap();
    for known in [&[][..], &[1, 2]] {
        run(&*op, &[&x, &Tensor::scalar(-0.5f32), &Tensor::scalar(0.5f32)], known).unwrap();
    }
    let op = parse("Range", 24, &[], 3, 1).unwrap();
    run(&*op, &[&Tensor::scalar(3i32), &Tensor::scalar(-9i32), &Tensor::scalar(-2i32)], &[0, 1, 2]).unwrap();
    let op = parse("ConstantOfShape", 24, &[], 1, 1).unwrap();
    run(&*op, &[&vector(&[2, 3])], &[0]).unwrap();
    let op = parse("EyeLike", 24, &[("k", Attr::Int(-1))], 1, 1).unwrap();
    run(&*op, &[&x], &[]).unwrap();
}
