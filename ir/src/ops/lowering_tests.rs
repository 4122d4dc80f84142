//! Every elementwise and data movement operator: what its kernels compute is what its interpreter computes.

use super::testing::{every_type, ints, numbers, parse, run};
use crate::op::Attr;
use crate::tensor::Tensor;
use crate::types::DType;

fn vector(values: &[i64]) -> Tensor {
    Tensor::from_vec(&[values.len()], values.to_vec())
}

#[test]
fn one_input() {
    for name in [
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "BitwiseNot",
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
        "Not",
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
        "Min",
        "Squeeze",
        "Sum",
    ] {
        let op = parse(name, 24, &[], 1, 1).unwrap();
        every_type(&*op, &[], |t| vec![numbers(t, &[3, 4])]);
    }
}

#[test]
fn two_inputs() {
    let all = |name: &str, list: &[(&str, Attr)]| {
        let op = parse(name, 24, list, 2, 1).unwrap();
        for (a, b) in [(&[3, 4][..], &[4][..]), (&[3, 1], &[2, 1, 4]), (&[3, 1], &[1])] {
            for known in [&[][..], &[1]] {
                every_type(&*op, known, |t| vec![numbers(t, a), numbers(t, b)]);
            }
        }
    };
    for name in ["Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean"] {
        all(name, &[]);
    }
    for name in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor"] {
        all(name, &[]);
    }
    for name in ["BitwiseAnd", "BitwiseOr", "BitwiseXor"] {
        all(name, &[]);
    }
    all("Mod", &[("fmod", Attr::Int(1))]);
    let op = parse("PRelu", 24, &[], 2, 1).unwrap();
    every_type(&*op, &[], |t| vec![numbers(t, &[3, 4]), numbers(t, &[4])]);
    for direction in ["LEFT", "RIGHT"] {
        all("BitShift", &[("direction", Attr::Str(direction.into()))]);
    }
}

#[test]
fn casts() {
    for to in DType::ALL.into_iter().filter(|t| t.is_compiled() && t.to_onnx() <= 16 && *t != DType::C64) {
        let op = parse("Cast", 24, &[("to", Attr::Int(to.to_onnx().into()))], 1, 1).unwrap();
        every_type(&*op, &[], |from| vec![numbers(from, &[12])]);
        let op = parse("CastLike", 24, &[], 2, 1).unwrap();
        every_type(&*op, &[], |from| vec![numbers(from, &[12]), numbers(to, &[1])]);
    }
}

#[test]
fn data_movement() {
    let shape = [2, 8, 3, 4];
    let check = |name: &str, list: &[(&str, Attr)], more: &[&Tensor], outputs| {
        let op = parse(name, 24, list, 1 + more.len(), outputs).unwrap();
        let known: Vec<usize> = (1..=more.len()).collect();
        let of = |t| std::iter::once(numbers(t, &shape)).chain(more.iter().map(|m| (*m).clone()));
        every_type(&*op, &known, |t| of(t).collect());
    };
    check("Transpose", &[("perm", ints(&[2, 0, 3, 1]))], &[], 1);
    for shape in [&[16, 12][..], &[-1], &[2, 4, 2, 12], &[3, 64], &[0, 0, -1], &[12, 16, 1]] {
        check("Reshape", &[], &[&vector(shape)], 1);
    }
    check("Unsqueeze", &[], &[&vector(&[0, -1])], 1);
    check("Slice", &[], &[&vector(&[1, -1]), &vector(&[9, -9]), &vector(&[1, 3]), &vector(&[3, -2])], 1);
    check("Slice", &[], &[&vector(&[5]), &vector(&[2])], 1);
    let concat = parse("Concat", 24, &[("axis", Attr::Int(1))], 3, 1).unwrap();
    let part = |t| vec![numbers(t, &shape), numbers(t, &[2, 1, 3, 4]), numbers(t, &shape)];
    every_type(&*concat, &[1], part);
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
    let choose = || Tensor::from_bools(&[3, 1], [true, false, true]);
    let op = parse("Where", 24, &[], 3, 1).unwrap();
    every_type(&*op, &[], |t| vec![choose(), numbers(t, &[3, 4]), numbers(t, &[1])]);
    let op = parse("Clip", 24, &[], 3, 1).unwrap();
    for known in [&[][..], &[1, 2]] {
        let limit = |t, v| Tensor { shape: vec![], ..cast(&Tensor::from_vec(&[1], vec![v]), t) };
        every_type(&*op, known, |t| vec![numbers(t, &[3, 4]), limit(t, 1i64), limit(t, 2)]);
    }
    let op = parse("Range", 24, &[], 3, 1).unwrap();
    run(&*op, &[&Tensor::scalar(3i32), &Tensor::scalar(-9i32), &Tensor::scalar(-2i32)], &[0, 1, 2]).unwrap();
    let op = parse("ConstantOfShape", 24, &[], 1, 1).unwrap();
    run(&*op, &[&vector(&[2, 3])], &[0]).unwrap();
    for t in [DType::F32, DType::I8, DType::F16, DType::Bool, DType::F64] {
        let value = Attr::Tensor(numbers(t, &[1]));
        let op = parse("ConstantOfShape", 24, &[("value", value)], 1, 1).unwrap();
        run(&*op, &[&vector(&[2, 3])], &[0]).unwrap();
    }
    let op = parse("EyeLike", 24, &[("k", Attr::Int(-1))], 1, 1).unwrap();
    every_type(&*op, &[], |t| vec![numbers(t, &[3, 4])]);
}

/// Converted as `Cast` does.
fn cast(x: &Tensor, to: DType) -> Tensor {
    let Ok(op) = parse("Cast", 24, &[("to", Attr::Int(to.to_onnx().into()))], 1, 1) else {
        return numbers(to, &x.shape);
    };
    match op.eval(&[Some(x)]) {
        Ok(y) => y[0].clone(),
        Err(_) => numbers(to, &x.shape),
    }
}
