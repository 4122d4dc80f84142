//! Every operation of every element type in emitted code against its definition in `eval::scalar`.

use kiln_ir::eval::scalar;
use kiln_ir::kernel::plan::{FlatAccess, Plan, PlannedKernel, Port, Provider, Schedule, Shared, Storage};
use kiln_ir::kernel::{BinaryOp, Expr, Form, Loop, LoopId, Role, Scalar, Store, UnaryOp};
use kiln_ir::{DType, Dim, Shape, Tensor, TensorType};

use crate::emit::jit::Model;

const TYPES: [DType; 13] = [
    DType::Bool,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::F16,
    DType::BF16,
    DType::F32,
    DType::F64,
];

fn access(storage: Storage, dtype: DType) -> FlatAccess {
    FlatAccess {
        name: "x".to_owned(),
        storage,
        dtype,
        offset: Dim::Const(0),
        strides: vec![Dim::Const(1)],
        gathers: vec![],
        guards: vec![],
        otherwise: None,
    }
}

fn tensor(dtype: DType, bits: &[u64]) -> Tensor {
    let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()[..dtype.size()].to_vec()).collect();
    Tensor::new(dtype, vec![bits.len()], bytes.into()).unwrap()
}

fn elements(t: &Tensor) -> Vec<u64> {
    t.data
        .chunks_exact(t.dtype.size())
        .map(|c| c.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
        .collect()
}

/// Runs `out[i] = value` with several values at once, on a processor of the given level.
fn run(cpu: &str, inputs: &[Tensor], values: &[(DType, Expr<FlatAccess>)]) -> Vec<Vec<u64>> {
    let n = inputs[0].elements();
    let port = |dtype| Port { name: "x".to_owned(), ty: TensorType::new(dtype, Shape::of(&[n])) };
    let stores = values
        .iter()
        .enumerate()
        .map(|(i, (dtype, value))| Store { to: access(Storage::Output(i), *dtype), value: value.clone() });
    let kernel = PlannedKernel {
        name: "k".to_owned(),
        nodes: vec![],
        loops: vec![Loop { name: "i".to_owned(), extent: n.into(), role: Role::Parallel }],
        form: Form::Map { stores: stores.collect() },
        schedule: Schedule::Scalar { order: vec![LoopId(0)] },
        provider: Provider::Plain,
        shared: Some(Shared { along: LoopId(0), step: 1 }),
        why: String::new(),
        grain: None,
        bounds: Default::default(),
    };
    let plan = Plan {
        name: "p".to_owned(),
        inputs: inputs.iter().map(|t| port(t.dtype)).collect(),
        outputs: values.iter().map(|v| port(v.0)).collect(),
        arena_align: 64,
        kernels: vec![kernel],
        ..Plan::default()
    };
    let target = kiln_targets::resolve("host", cpu, "").unwrap();
    let outputs = Model::new(plan, &target, 1).unwrap().run(inputs).unwrap();
    outputs.iter().map(elements).collect()
}

/// Interesting elements of a type.
fn samples(dtype: DType) -> Vec<u64> {
    let mask = u64::MAX >> (64 - dtype.bits());
    if dtype == DType::Bool {
        return vec![0, 1];
    }
    let mut out: Vec<u64> = [0i64, 1, 2, 3, 5, 7, 8, 31, 32, 33, 63, 64, 100, -1, -2, -3, -7, -100]
        .iter()
        .map(|v| if dtype.is_float() { Scalar::of(dtype, *v as f64).bits } else { *v as u64 & mask })
        .collect();
    if dtype.is_float() {
        let values = [
            -0.0,
            0.5,
            1.5,
            2.5,
            -0.5,
            -1.5,
            -2.5,
            0.1,
            0.9,
            -0.9,
            1e-3,
            1e-6,
            87.0,
            -87.0,
            1.25,
            3.75,
            1e-8,
            300.0,
            65_504.0,
            4e4,
            -4e9,
            3e9,
            1e19,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e-40,
            6e-8,
            1e-310,
            4_503_599_627_370_497.5,
            8_388_609.0,
            4_194_303.5,
            1.999_999_9,
            1e-45,
            3.3,
        ];
        out.extend(values.iter().map(|v| Scalar::of(dtype, *v).bits));
    } else {
        out.extend([mask, mask >> 1, (mask >> 1) + 1, (mask >> 1) + 2, mask - 1]);
    }
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..40 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Bits of every magnitude, and plain small numbers.
        out.push((state >> 7) & mask);
        if dtype.is_float() {
            out.push(Scalar::of(dtype, (state >> 40) as f64 / 1e6 - 8.0).bits);
        }
    }
    out
}

/// Floats of all exponents.
fn exponents(dtype: DType) -> Vec<u64> {
    let (step, infinity) = match dtype {
        DType::F32 => (0x0001_3579, u64::from(f32::INFINITY.to_bits())),
        DType::F64 => (0x0003_579b_df13_579b, f64::INFINITY.to_bits()),
        _ => return vec![],
    };
    (0..infinity).step_by(step).flat_map(|bits| [bits, bits | (1 << (dtype.bits() - 1))]).collect()
}

/// Distance in units in the last place; equal for NaN and NaN.
fn distance(dtype: DType, a: u64, b: u64) -> u64 {
    if a == b {
        return 0;
    }
    if !dtype.is_float() {
        return u64::MAX;
    }
    let value = |bits| Scalar { dtype, bits }.to_f64();
    if value(a).is_nan() && value(b).is_nan() {
        return 0;
    }
    if value(a).is_nan() || value(b).is_nan() {
        return u64::MAX;
    }
    let ordered = |bits: u64| {
        let sign = 1u64 << (dtype.bits() - 1);
        let magnitude = (bits & (sign - 1)) as i128;
        if bits & sign == 0 { magnitude } else { -magnitude }
    };
    (ordered(a) - ordered(b)).unsigned_abs().min(u64::MAX.into()) as u64
}

/// Units in the last place that an operation may be off by.
fn bound(dtype: DType, inexact: bool) -> u64 {
    match dtype {
        // The bounds of our functions are up to 8, and the meaning, the machine's, is not exact either.
        DType::F64 if inexact => 9,
        _ if inexact => 1,
        _ => 0,
    }
}

fn check_unary(cpu: &str) {
    let mut wrong = Vec::new();
    for dtype in TYPES {
        let mut xs = samples(dtype);
        xs.extend(exponents(dtype));
        let load = || Expr::Load(access(Storage::Input(0), dtype));
        let ops: Vec<_> =
            UnaryOp::ALL.iter().filter_map(|op| Some((*op, scalar::unary(*op, dtype).ok()?))).collect();
        let values: Vec<_> = ops.iter().map(|(op, _)| (op.result(dtype), Expr::unary(*op, load()))).collect();
        for ((op, meaning), (got, (to, _))) in
            ops.iter().zip(run(cpu, &[tensor(dtype, &xs)], &values).iter().zip(&values))
        {
            use UnaryOp::*;
            let exact =
                matches!(op, Neg | Abs | Sqrt | Floor | Ceil | Round | Sign | Not | BitNot | IsNan | IsInf);
            for (x, got) in xs.iter().zip(got) {
                let expected = meaning(*x);
                if distance(*to, *got, expected) > bound(dtype, !exact) {
                    wrong.push(format!(
                        "{op:?} of {:?}: {:?}, not {:?}",
                        Scalar { dtype, bits: *x },
                        Scalar { dtype: *to, bits: *got },
                        Scalar { dtype: *to, bits: expected }
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(60)].join("\n"));
}

fn check_binary(cpu: &str) {
    let mut wrong = Vec::new();
    for dtype in TYPES {
        let all = samples(dtype);
        let (xs, ys): (Vec<u64>, Vec<u64>) =
            all.iter().flat_map(|x| all.iter().map(move |y| (*x, *y))).unzip();
        let load = |i| Expr::Load(access(Storage::Input(i), dtype));
        let ops: Vec<_> =
            BinaryOp::ALL.iter().filter_map(|op| Some((*op, scalar::binary(*op, dtype).ok()?))).collect();
        let values: Vec<_> =
            ops.iter().map(|(op, _)| (op.result(dtype), Expr::binary(*op, load(0), load(1)))).collect();
        let outputs = run(cpu, &[tensor(dtype, &xs), tensor(dtype, &ys)], &values);
        for ((op, meaning), (got, (to, _))) in ops.iter().zip(outputs.iter().zip(&values)) {
            for ((x, y), got) in xs.iter().zip(&ys).zip(got) {
                let expected = meaning(*x, *y);
                let (a, e) = (Scalar { dtype: *to, bits: *got }, Scalar { dtype: *to, bits: expected });
                let near = match (op, dtype) {
                    // The meaning of f64 is the machine's, which rounds too.
                    (BinaryOp::Pow, _) if dtype.is_float() => distance(*to, *got, expected) <= 1,
                    (BinaryOp::Pow, _) => distance(*to, *got, expected) == 0,
                    // The meaning of f32's remainders rounds the corrected sum once more.
                    (BinaryOp::Mod, _) => distance(*to, *got, expected) <= bound(dtype, dtype.is_float()),
                    (BinaryOp::Min | BinaryOp::Max, _) if dtype.is_float() => {
                        // Zeros of either sign are equal.
                        a.to_f64() == e.to_f64() || distance(*to, *got, expected) == 0
                    }
                    _ => distance(*to, *got, expected) == 0,
                };
                if !near {
                    let (x, y) = (Scalar { dtype, bits: *x }, Scalar { dtype, bits: *y });
                    wrong.push(format!("{op:?} of {x:?} and {y:?}: {a:?}, not {e:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(60)].join("\n"));
}

#[test]
fn unary_operations() {
    check_unary("native");
}

#[test]
fn unary_operations_of_the_minimum() {
    check_unary("baseline");
}

#[test]
fn binary_operations() {
    check_binary("native");
}

#[test]
fn casts() {
    let mut wrong = Vec::new();
    for from in TYPES {
        let xs = samples(from);
        let values: Vec<_> = TYPES
            .iter()
            .map(|to| (*to, Expr::cast(*to, Expr::Load(access(Storage::Input(0), from)))))
            .collect();
        let outputs = run("baseline", &[tensor(from, &xs)], &values);
        for (to, got) in TYPES.iter().zip(outputs) {
            let meaning = scalar::cast(from, *to).unwrap();
            for (x, got) in xs.iter().zip(got) {
                let long = matches!(from, DType::I64 | DType::U64) && to.is_float() && to.bits() == 16;
                if distance(*to, got, meaning(*x)) > u64::from(long) {
                    wrong.push(format!(
                        "{:?} to {to}: {:?}, not {:?}",
                        Scalar { dtype: from, bits: *x },
                        Scalar { dtype: *to, bits: got },
                        Scalar { dtype: *to, bits: meaning(*x) }
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(60)].join("\n"));
}
