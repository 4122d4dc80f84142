//! Every listed operator, for every element type that it takes: definition, kernels and machine code agree.

use super::OPS;
use super::testing::{every_type, ints, numbers, parse, sample, taken};
use crate::op::{Attr, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// Attributes, inputs whose elements are known, inputs of an element type.
type Case = (Vec<(&'static str, Attr)>, Vec<usize>, fn(DType) -> Vec<Tensor>);

/// Operators that are gone before anything is lowered or inferred, and those whose bodies say what types there are.
const FOLDED: [&str; 21] = [
    "BlackmanWindow",
    "Compress",
    "ConcatFromSequence",
    "HammingWindow",
    "HannWindow",
    "If",
    "Loop",
    "MelWeightMatrix",
    "NonMaxSuppression",
    "NonZero",
    "RandomNormal",
    "RandomUniform",
    "Scan",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SplitToSequence",
    "Unique",
];

fn vector(values: &[i64]) -> Tensor {
    Tensor::from_vec(&[values.len()], values.to_vec())
}

/// `Var` of normalisations: not negative.
fn ones(dtype: DType, n: usize) -> Tensor {
    let mut b = super::elements::Builder::new(dtype, &[n]);
    (0..n).for_each(|i| b.push(crate::numerics::Number::Int(1 + i as i128)));
    b.finish().unwrap()
}

/// A case of the operator.
fn case(name: &str) -> Case {
    let (mut attrs, mut known) = (vec![], vec![]);
    let inputs: fn(DType) -> Vec<Tensor> = match name {
        "Constant" => {
            attrs.push(("value", Attr::Tensor(sample(&[2, 3], 5))));
            |_| vec![]
        }
        "Cast" => {
            attrs.push(("to", Attr::Int(DType::F32.to_onnx().into())));
            |t| vec![numbers(t, &[3, 4])]
        }
        "CastLike" => |t| vec![numbers(t, &[3, 4]), numbers(DType::I32, &[1])],
        "Where" => {
            |t| vec![Tensor::from_bools(&[3, 1], [true, false, true]), numbers(t, &[3, 4]), numbers(t, &[4])]
        }
        "BitShift" => {
            attrs.push(("direction", Attr::Str("LEFT".into())));
            |t| vec![numbers(t, &[3, 4]), numbers(t, &[4])]
        }
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Max" | "Min" | "Sum" | "Mean" | "PRelu"
        | "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor"
        | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" => |t| vec![numbers(t, &[3, 4]), numbers(t, &[4])],
        "QuantizeLinear" => |t| vec![numbers(t, &[3, 4]), numbers(t, &[4]), ones(DType::U8, 4)],
        // Small floats exist as constants only: zero points of another type are refused.
        "DequantizeLinear" => |t| {
            let zeros = ones(if t.is_int() { t } else { DType::U8 }, 4);
            vec![numbers(t, &[3, 4]), numbers(DType::F32, &[4]), zeros]
        },
        "MatMulInteger" => {
            |t| vec![numbers(t, &[3, 5]), numbers(DType::I8, &[5, 4]), ones(t, 1), ones(DType::I8, 4)]
        }
        "QLinearMatMul" => |t| {
            let (a, b, one) = (numbers(t, &[3, 5]), numbers(DType::I8, &[5, 4]), ones(DType::F32, 1));
            vec![a, one.clone(), ones(t, 1), b, one.clone(), ones(DType::I8, 4), one, ones(t, 1)]
        },
        "QLinearConv" => |t| {
            let (x, w) = (numbers(t, &[1, 2, 5, 6]), numbers(DType::I8, &[2, 2, 3, 3]));
            let one = ones(DType::F32, 1);
            vec![x, one.clone(), ones(t, 1), w, ones(DType::F32, 2), ones(DType::I8, 2), one, ones(t, 1)]
        },
        "ConvInteger" => |t| {
            let (x, w) = (numbers(t, &[1, 2, 5, 6]), numbers(DType::I8, &[2, 2, 3, 3]));
            vec![x, w, ones(t, 1), ones(DType::I8, 2)]
        },
        "Einsum" => {
            attrs.push(("equation", Attr::Str("ij,jk->ik".into())));
            |t| vec![numbers(t, &[3, 5]), numbers(t, &[5, 4])]
        }
        "DFT" => |t| vec![numbers(t, &[2, 4, 2])],
        "NegativeLogLikelihoodLoss" | "SoftmaxCrossEntropyLoss" => {
            |t| vec![numbers(t, &[2, 3, 4]), Tensor::from_vec(&[2, 4], vec![2i64, 0, 1, 1, 0, 2, 2, 1])]
        }
        "Attention" => |t| {
            let [k, v] = [[1, 2, 4, 8], [1, 2, 4, 6]].map(|shape| numbers(t, &shape));
            vec![numbers(t, &[1, 4, 3, 8]), k, v, numbers(t, &[3, 4])]
        },
        "RotaryEmbedding" => {
            |t| vec![numbers(t, &[1, 2, 3, 8]), numbers(t, &[1, 3, 4]), numbers(t, &[1, 3, 4])]
        }
        "MeanVarianceNormalization" => |t| vec![numbers(t, &[2, 3, 4, 5])],
        "ReverseSequence" => |t| vec![numbers(t, &[3, 2, 4]), vector(&[2, 3])],
        "Det" => |t| vec![numbers(t, &[2, 3, 3])],
        "TfIdfVectorizer" => {
            attrs.push(("mode", Attr::Str("TF".into())));
            attrs.push(("ngram_counts", ints(&[0])));
            attrs.push(("ngram_indexes", ints(&[0, 1])));
            attrs.push(("pool_int64s", ints(&[-3, 4])));
            |t| vec![numbers(t, &[2, 7])]
        }
        "GridSample" => |t| vec![numbers(t, &[1, 2, 3, 4]), numbers(DType::F32, &[1, 2, 3, 2])],
        "RoiAlign" => {
            attrs.push(("sampling_ratio", Attr::Int(2)));
            |t| vec![numbers(t, &[1, 2, 3, 4]), numbers(t, &[2, 4]), vector(&[0, 0])]
        }
        "DeformConv" => {
            |t| vec![numbers(t, &[1, 2, 3, 4]), numbers(t, &[2, 2, 2, 2]), numbers(t, &[1, 8, 2, 3])]
        }
        "ScatterElements" | "Scatter" => {
            |t| vec![numbers(t, &[3, 3]), Tensor::from_vec(&[1, 3], vec![2i64, 0, -1]), numbers(t, &[1, 3])]
        }
        "ScatterND" => {
            |t| vec![numbers(t, &[3, 3]), Tensor::from_vec(&[2, 1], vec![2i64, -3]), numbers(t, &[2, 3])]
        }
        "TensorScatter" => |t| vec![numbers(t, &[2, 3, 4]), numbers(t, &[2, 1, 4]), vector(&[1, 2])],
        "MaxUnpool" => {
            attrs.push(("kernel_shape", ints(&[2])));
            |t| vec![numbers(t, &[1, 1, 3]), Tensor::from_vec(&[1, 1, 3], vec![0i64, 2, 3])]
        }
        "RNN" | "GRU" | "LSTM" => {
            attrs.push(("hidden_size", Attr::Int(2)));
            match name {
                "RNN" => |t| vec![numbers(t, &[2, 1, 3]), numbers(t, &[1, 2, 3]), numbers(t, &[1, 2, 2])],
                "GRU" => |t| vec![numbers(t, &[2, 1, 3]), numbers(t, &[1, 6, 3]), numbers(t, &[1, 6, 2])],
                _ => |t| vec![numbers(t, &[2, 1, 3]), numbers(t, &[1, 8, 3]), numbers(t, &[1, 8, 2])],
            }
        }
        "MatMul" => |t| vec![numbers(t, &[2, 3, 5]), numbers(t, &[5, 4])],
        "Gemm" => |t| vec![numbers(t, &[3, 5]), numbers(t, &[5, 4]), numbers(t, &[4])],
        "Conv" | "ConvTranspose" => {
            |t| vec![numbers(t, &[1, 2, 5, 6]), numbers(t, &[2, 2, 3, 3]), numbers(t, &[2])]
        }
        "MaxPool" | "AveragePool" | "LpPool" => {
            attrs.push(("kernel_shape", ints(&[2, 2])));
            |t| vec![numbers(t, &[1, 3, 5, 6])]
        }
        "LRN" => {
            attrs.push(("size", Attr::Int(3)));
            |t| vec![numbers(t, &[1, 5, 2, 3])]
        }
        "BatchNormalization" => {
            |t| vec![numbers(t, &[2, 3, 4]), numbers(t, &[3]), numbers(t, &[3]), numbers(t, &[3]), ones(t, 3)]
        }
        "InstanceNormalization" => |t| vec![numbers(t, &[2, 3, 4]), numbers(t, &[3]), numbers(t, &[3])],
        "GroupNormalization" => {
            attrs.push(("num_groups", Attr::Int(2)));
            |t| vec![numbers(t, &[2, 4, 5]), numbers(t, &[4]), numbers(t, &[4])]
        }
        "LayerNormalization" => |t| vec![numbers(t, &[3, 5]), numbers(t, &[5]), numbers(t, &[5])],
        "RMSNormalization" | "SimplifiedLayerNormalization" => {
            |t| vec![numbers(t, &[3, 5]), numbers(t, &[5])]
        }
        "Gather" => |t| vec![numbers(t, &[4, 3]), vector(&[2, 0, -1])],
        "GatherElements" => |t| vec![numbers(t, &[3, 3]), Tensor::from_vec(&[1, 3], vec![2i64, 0, -1])],
        "GatherND" => |t| vec![numbers(t, &[3, 3]), Tensor::from_vec(&[2, 1], vec![2i64, -3])],
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => |t| vec![numbers(t, &[2, 3, 4, 5])],
        "DepthToSpace" | "SpaceToDepth" => {
            attrs.push(("blocksize", Attr::Int(2)));
            |t| vec![numbers(t, &[1, 8, 4, 6])]
        }
        "Concat" => {
            attrs.push(("axis", Attr::Int(1)));
            |t| vec![numbers(t, &[2, 3]), numbers(t, &[2, 1])]
        }
        "Clip" => |t| vec![numbers(t, &[3, 4]), numbers(t, &[]), ones(t, 1).reshaped(&[]).unwrap()],
        "Expand" | "Reshape" | "Tile" | "Unsqueeze" | "Split" | "ConstantOfShape" | "Pad" | "Slice"
        | "Col2Im" | "TopK" | "Range" | "AffineGrid" | "CumSum" | "CenterCropPad" | "STFT" | "OneHot"
        | "Resize" | "Upsample" => {
            known = vec![1, 2, 3, 4];
            match name {
                "AffineGrid" => |t| vec![numbers(t, &[1, 2, 3]), vector(&[1, 1, 2, 3])],
                "Col2Im" => |t| vec![numbers(t, &[1, 4, 4]), vector(&[3, 3]), vector(&[2, 2])],
                "TopK" => |t| vec![numbers(t, &[3, 4]), vector(&[3])],
                "CumSum" => |t| vec![numbers(t, &[3, 4]), vector(&[1])],
                "CenterCropPad" => |t| vec![numbers(t, &[3, 4]), vector(&[2, 6])],
                "STFT" => |t| vec![numbers(t, &[1, 12, 1]), vector(&[3]), numbers(t, &[4])],
                "OneHot" => {
                    known = vec![1];
                    |t| vec![vector(&[2, 0, -1]), vector(&[4]), numbers(t, &[2])]
                }
                "Resize" | "Upsample" => {
                    attrs.push(("mode", Attr::Str("linear".into())));
                    |t| vec![numbers(t, &[3, 4]), Tensor::from_vec(&[2], vec![1f32, 1.5])]
                }
                "Expand" => |t| vec![numbers(t, &[3, 1]), vector(&[2, 3, 4])],
                "Reshape" => |t| vec![numbers(t, &[3, 4]), vector(&[2, -1])],
                "Tile" => |t| vec![numbers(t, &[3, 4]), vector(&[2, 1])],
                "Unsqueeze" => |t| vec![numbers(t, &[3, 4]), vector(&[1])],
                "Split" => |t| vec![numbers(t, &[3, 4]), vector(&[2, 1])],
                "Pad" => |t| vec![numbers(t, &[3, 4]), vector(&[1, 0, 0, 2])],
                "Slice" => {
                    |t| vec![numbers(t, &[5, 4]), vector(&[3]), vector(&[-9]), vector(&[0]), vector(&[-2])]
                }
                "Range" => {
                    known = vec![0, 1, 2];
                    |t| vec![ones(t, 1), ones(t, 9), ones(t, 2)].into_iter().map(last).collect()
                }
                _ => {
                    known = vec![0];
                    |_| vec![vector(&[2, 3])]
                }
            }
        }
        _ => |t| vec![numbers(t, &[3, 4])],
    };
    (attrs, known, inputs)
}

/// The last element alone, where elements have bytes of their own.
fn last(t: Tensor) -> Tensor {
    let size = t.dtype.size();
    if size == 0 {
        return numbers(t.dtype, &[]);
    }
    Tensor::new(t.dtype, vec![], t.data.slice(t.data.len() - size..)).unwrap()
}

/// Those of other domains are made of these.
fn listed() -> impl Iterator<Item = &'static OpDef> {
    OPS.iter().filter(|def| def.domain.is_empty() && !FOLDED.contains(&def.name))
}

/// Makes operands of a type.
type Operands = fn(DType) -> Vec<Tensor>;

/// The operator in its newest version, with the inputs that are constants, and its case.
fn made(def: &OpDef) -> (Box<dyn Op>, Vec<usize>, Operands) {
    let (attrs, known, inputs) = case(def.name);
    let count = inputs(DType::F32).len();
    let outputs = match def.name {
        "Split" | "TopK" => 2,
        "DynamicQuantizeLinear" => 3,
        _ => 1,
    };
    let op = parse(def.name, def.since.1, &attrs, count, outputs);
    let op = op.unwrap_or_else(|e| panic!("{}: {e}", def.name));
    (op, known.into_iter().filter(|i| *i < count).collect(), inputs)
}

fn run(part: usize) {
    for def in listed().enumerate().filter(|(i, _)| i % 4 == part).map(|(_, def)| def) {
        let (op, known, inputs) = made(def);
        let types = every_type(&*op, &known, inputs);
        if types.contains(&DType::F32) && def.name != "DynamicQuantizeLinear" {
            let short = [DType::F16, DType::BF16].map(|t| types.contains(&t));
            assert_eq!(short, [true, true], "{} of f16 and bf16", def.name);
        }
    }
}

/// `types.txt`, which lists and the documentation read. `KILN_BLESS=1` writes it.
#[test]
fn types_are_written_down() {
    let line = |def: &OpDef| {
        let (op, known, inputs) = made(def);
        let types = taken(&*op, &known, inputs);
        format!("{} {}\n", def.name, types.iter().map(|t| t.name()).collect::<Vec<_>>().join(" "))
    };
    let text: String = listed().map(line).collect();
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops/types.txt"), text).unwrap();
        return;
    }
    assert_eq!(text, super::TYPES, "KILN_BLESS=1 writes ir/src/ops/types.txt");
}

#[test]
fn a_quarter_of_the_operators() {
    run(0);
}

#[test]
fn another_quarter() {
    run(1);
}

#[test]
fn a_third_quarter() {
    run(2);
}

#[test]
fn the_last_quarter() {
    run(3);
}
