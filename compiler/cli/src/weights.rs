//! A model's outline as JSON: declarations, counts, and what its weights hold.

use std::collections::BTreeMap;

use kiln_ir::format::bcsr::{self, Block};
use kiln_ir::{DType, Tensor};
use kiln_onnx::{Declared, Extent, Outline};
use serde_json::{Value, json};

/// Weights smaller than this are scalars, axes and the like: no word about their zeros.
const NOTABLE_ELEMENTS: i64 = 256;

/// The fields of `kiln inspect` that need no compilation.
pub(super) fn describe(outline: &Outline) -> Value {
    let ports = |list: &[Declared]| -> Value { list.iter().map(port).collect() };
    let mut json = json!({
        "name": outline.name,
        "producer": outline.producer,
        "inputs": ports(&outline.inputs),
        "outputs": ports(&outline.outputs),
        "opsets": outline.opsets,
        "nodes": outline.operators.values().sum::<usize>(),
        "operators": outline.operators,
        "symbols": outline.open(),
    });
    let (mut parameters, mut bytes, mut by_type) = (0i64, 0u64, BTreeMap::<&str, i64>::new());
    let mut list = Vec::new();
    for weight in &outline.weights {
        let elements = weight.shape.iter().fold(1i64, |n, e| n.saturating_mul((*e).max(0)));
        parameters = parameters.saturating_add(elements);
        bytes += weight.tensor.as_ref().map_or(0, |t| t.data.len() as u64);
        *by_type.entry(&weight.dtype).or_default() += elements;
        if elements >= NOTABLE_ELEMENTS && weight.shape.len() >= 2 {
            let zeros = weight.tensor.as_ref().map(zeros);
            list.push(json!({
                "name": weight.name,
                "dtype": weight.dtype,
                "shape": weight.shape,
                "zeros": zeros,
                "sparsity": zeros.map(|z| z as f64 / elements as f64),
                "block": weight.tensor.as_ref().and_then(blocks),
            }));
        }
    }
    json["parameters"] = json!(parameters);
    json["parameter_bytes"] = json!(bytes);
    json["parameters_by_type"] = json!(by_type);
    json["weights"] = json!(list);
    let quantised: BTreeMap<&String, &usize> =
        outline.operators.iter().filter(|(name, _)| quantises(name)).collect();
    json["quantisation"] = json!({ "quantised": !quantised.is_empty(), "operators": quantised });
    json
}

/// Whether an operator makes, takes or multiplies quantised numbers.
fn quantises(op: &str) -> bool {
    let name = op.rsplit('.').next().unwrap_or(op);
    let parts = ["QuantizeL", "quantizeL", "QLinear", "MatMulNBits"];
    parts.iter().any(|part| name.contains(part)) || name.ends_with("Integer")
}

fn port(declared: &Declared) -> Value {
    let extent = |e: &Extent| match e {
        Extent::Fixed(n) => json!(n),
        Extent::Open(name) => json!(name),
    };
    let shape = declared.shape.as_ref().map(|s| s.iter().map(extent).collect::<Vec<_>>());
    json!({ "name": declared.name, "dtype": declared.dtype, "shape": shape })
}

/// The tallest blocks of output channels, the first axis, that zeros come in: where nine of ten elements of those that are kept
/// are no zeros. `None` where there are few zeros.
fn blocks(tensor: &Tensor) -> Option<String> {
    const LEAST_ZEROS: f64 = 0.3;
    const LEAST_FILLED: f64 = 0.9;
    let values = tensor.to_f64s().ok().filter(|_| tensor.dtype.is_float())?;
    let flags: Vec<bool> = values.iter().map(|v| *v == 0.0).collect();
    let kept = flags.iter().filter(|z| !**z).count();
    if (flags.len() - kept) as f64 <= LEAST_ZEROS * flags.len() as f64 {
        return None;
    }
    let (rows, columns) = (tensor.shape[0], flags.len() / tensor.shape[0].max(1));
    // Of a matrix the output channels may be either axis.
    let matrix = tensor.shape.len() == 2;
    let turned: Vec<bool> = match matrix {
        true => (0..flags.len()).map(|i| flags[i % rows * columns + i / rows]).collect(),
        false => Vec::new(),
    };
    let filled = |block: &Block| {
        let full = |flags: &[bool], rows, columns| bcsr::count(flags, rows, columns, *block) * block.values();
        let turned = if matrix { full(&turned, columns, rows) } else { usize::MAX };
        kept as f64 >= LEAST_FILLED * full(&flags, rows, columns).min(turned) as f64
    };
    let mut shapes = Block::ALL;
    shapes.sort_by_key(|block| std::cmp::Reverse(block.values()));
    shapes.iter().filter(|block| !block.is_slice()).find(|block| filled(block)).map(Block::to_string)
}

/// Elements that are zero: all bits, but for the sign of floats.
fn zeros(tensor: &Tensor) -> usize {
    match tensor.dtype {
        DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {
            tensor.to_f64s().map_or(0, |v| v.iter().filter(|x| **x == 0.0).count())
        }
        dtype if dtype.size() > 0 => {
            tensor.data.chunks_exact(dtype.size()).filter(|c| c.iter().all(|b| *b == 0)).count()
        }
        _ => {
            let halves = tensor.data.iter().flat_map(|b| [b & 15, b >> 4]);
            halves.take(tensor.elements()).filter(|h| *h == 0).count()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_on_quantised_numbers_are_known_by_name() {
        let yes = [
            "QuantizeLinear",
            "DynamicQuantizeLinear",
            "QLinearConv",
            "MatMulInteger",
            "DynamicQuantizeLSTM",
        ];
        let other = ["com.microsoft.QLinearAdd", "com.microsoft.MatMulNBits", "DequantizeLinear"];
        for op in yes.iter().chain(&other) {
            assert!(quantises(op), "{op}");
        }
        for op in ["Linear", "IntegerDivide", "Quantile", "MatMul"] {
            assert!(!quantises(op), "{op}");
        }
    }

    #[test]
    fn blocks_of_zeros_are_found() {
        let matrix = |height: usize| {
            let value = |i: usize| if (i / 32 / height + i % 32).is_multiple_of(5) { 1.0f32 } else { 0.0 };
            Tensor::from_vec(&[16, 32], (0..16 * 32).map(value).collect())
        };
        for (height, found) in [(1, "1x1"), (4, "4x1"), (8, "8x1")] {
            assert_eq!(blocks(&matrix(height)).as_deref(), Some(found));
        }
        assert_eq!(blocks(&Tensor::from_vec(&[4, 4], vec![1f32; 16])), None);
    }

    #[test]
    fn zeros_of_any_type_are_counted() {
        assert_eq!(zeros(&Tensor::from_vec(&[4], vec![0.0f32, -0.0, 1.0, f32::NAN])), 2);
        assert_eq!(zeros(&Tensor::from_vec(&[3], vec![0i64, 256, 0])), 2);
    }
}
