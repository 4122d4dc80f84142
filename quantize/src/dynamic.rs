//! Quantising without data: activations are numbered while the model runs, by their least and largest element.
//!
//! ```text
//!   MatMul(x, w) + b      DynamicQuantizeLinear(x) -> MatMulInteger(., w.q) -> Cast -> Mul(., scale x * scale w) -> Add(., b)
//! ```
//!
//! Weights of convolutions are unsigned with a zero point of 128, which all runtimes take; those of matrices are signed.

use std::collections::HashMap;

use kiln_calibrate::{Layer as Product, Names, Result, View, Weights, Window, layers, turned};
use kiln_compiler::{DType, Tensor};
use kiln_onnx::{Document, Node};

use crate::opset;
use crate::options::{Options, Width};
use crate::prepare::prepare;
use crate::quantise::{Layer, Outcome, nothing, unchanged};
use crate::weights::{self, Integers};

/// The zero point of unsigned weights.
const MIDDLE: i32 = 128;

/// The operator set with DynamicQuantizeLinear; that of vectors of zero points.
const OPSET: i64 = 11;

/// Quantises a model's weights, with activations that are numbered while it runs. Layers that are named stay float.
///
/// # Errors
///
/// Those of [`quantize`](crate::quantize) that concern the model.
pub fn quantize_dynamic(mut float: Document, options: &Options, keep: &[String]) -> Result<Outcome> {
    prepare(&mut float)?;
    opset::raise(&mut float, OPSET, "an activation that is numbered while the model runs")?;
    let view = View::of(&float);
    let (products, left) = layers::find(&view);
    if products.iter().all(|p| p.weights().is_none()) {
        return Err(nothing(&left).into());
    }
    let mut writer = Writer {
        names: Names::of(&float),
        nodes: Vec::new(),
        constants: Vec::new(),
        numbered: HashMap::new(),
    };
    let mut layers: Vec<(usize, Layer)> = left.iter().map(|l| (l.node, unchanged(l))).collect();
    for (i, node) in view.nodes().iter().enumerate() {
        let product = products.iter().find(|p| p.node == i);
        let Some(product) = product else {
            writer.nodes.push(node.clone());
            continue;
        };
        let is_kept = keep.iter().any(|k| *k == product.label || *k == product.output);
        let (mut bytes, mut scheme, mut why) = ((0, 0), "float", "as asked for");
        match product.weights() {
            None => {
                writer.nodes.push(node.clone());
                why = "both operands are computed at run time";
            }
            Some(weights) => {
                let before = 4 * weights.rows * weights.depth;
                bytes = (before, before);
                if is_kept {
                    writer.nodes.push(node.clone());
                } else {
                    let tensor = float.constant(&weights.name);
                    let Some(tensor) = tensor else { continue };
                    let options = Options { width: Width::Int8, ..options.clone() };
                    let integers = weights::integers(tensor, weights, None, None, None, &options)?;
                    writer.product(node, product, weights, tensor, &integers);
                    bytes.1 = weights.rows * weights.depth + 4 * weights.rows;
                    (scheme, why) = ("dynamic u8 x s8", "");
                }
            }
        }
        let layer = Layer {
            node: product.label.clone(),
            op: product.op.clone(),
            scheme: scheme.to_owned(),
            error: None,
            sensitivity: None,
            bytes_before: bytes.0,
            bytes_after: bytes.1,
            why: why.to_owned(),
        };
        layers.push((i, layer));
    }
    layers.sort_by_key(|(position, _)| *position);
    let mut model = float.clone();
    *model.nodes_mut() = writer.nodes;
    for (name, tensor) in writer.constants {
        model.set_constant(&name, tensor);
    }
    model.drop_unused();
    let layers = layers.into_iter().map(|(_, layer)| layer).collect();
    Ok(Outcome { model, float, layers, error: None, accuracy_before: None, accuracy_after: None, met: true })
}

struct Writer {
    names: Names,
    nodes: Vec<Node>,
    constants: Vec<(String, Tensor)>,
    /// By activation: its numbers, their scale and zero point.
    numbered: HashMap<String, [String; 3]>,
}

impl Writer {
    fn constant(&mut self, stem: &str, tensor: Tensor) -> String {
        let name = self.names.fresh(stem);
        self.constants.push((name.clone(), tensor));
        name
    }

    fn node(&mut self, stem: &str, op: &str, inputs: &[&str]) -> String {
        let result = self.names.fresh(stem);
        self.nodes.push(Node::new(stem, op, inputs, &[&result]));
        result
    }

    /// An activation's numbers, made once.
    fn activation(&mut self, value: &str) -> [String; 3] {
        if let Some(known) = self.numbered.get(value) {
            return known.clone();
        }
        let names = ["q", "scale", "zero"].map(|part| self.names.fresh(&format!("{value}.{part}")));
        let results = [&*names[0], &*names[1], &*names[2]];
        self.nodes.push(Node::new(&format!("{value}.quantize"), "DynamicQuantizeLinear", &[value], &results));
        self.numbered.insert(value.to_owned(), names.clone());
        names
    }

    fn product(
        &mut self,
        node: &Node,
        product: &Product,
        weights: &Weights,
        tensor: &Tensor,
        integers: &Integers,
    ) {
        let [q, scale, zero] = self.activation(&product.input);
        let (stem, rows, depth) = (&weights.name, weights.rows, weights.depth);
        let is_window = weights.window != Window::Rows;
        // What follows a window is along the axis of channels, before those in space.
        let along: Vec<usize> = match is_window {
            true => [rows].into_iter().chain(vec![1; tensor.shape.len() - 2]).collect(),
            false => vec![rows],
        };
        let factors =
            self.constant(&format!("{stem}.scale"), Tensor::from_vec(&along, integers.scales.clone()));
        let sums = if is_window {
            let values = integers.values.iter().map(|v| (v + MIDDLE) as u8).collect();
            let w = self.constant(&format!("{stem}.q"), Tensor::from_vec(&tensor.shape, values));
            let w_zero = self.constant(&format!("{stem}.zero"), Tensor::scalar(MIDDLE as u8));
            let result = self.names.fresh(&format!("{}.sums", product.output));
            let mut sums = node.clone().renamed(&format!("{}.sums", product.label), "ConvInteger");
            sums.set_inputs(&[&q, &w, &zero, &w_zero]);
            sums.set_output(0, &result);
            self.nodes.push(sums);
            result
        } else {
            // A matrix with a column for each row of weights.
            let values = integers.values.iter().map(|v| *v as i8).collect::<Vec<i8>>();
            let values = turned(&values, rows, depth);
            let w = self.constant(&format!("{stem}.q"), Tensor::from_vec(&[depth, rows], values));
            let w_zero = self.constant(&format!("{stem}.zero"), Tensor::scalar(0i8));
            self.node(&format!("{}.sums", product.output), "MatMulInteger", &[&q, &w, &zero, &w_zero])
        };
        let floats = self.names.fresh(&format!("{}.float", product.output));
        let cast = Node::new(&format!("{}.cast", product.label), "Cast", &[&sums], &[&floats]);
        self.nodes.push(cast.with_int("to", DType::F32.to_onnx().into()));
        let scales = self.node(&format!("{}.scales", product.output), "Mul", &[&scale, &factors]);
        let Some(bias) = &weights.bias else {
            let name = format!("{}.scaled", product.label);
            return self.nodes.push(Node::new(&name, "Mul", &[&floats, &scales], &[&product.output]));
        };
        let scaled = self.node(&format!("{}.scaled", product.output), "Mul", &[&floats, &scales]);
        let mut bias = bias.clone();
        if is_window {
            let shape: Vec<i64> = along.iter().map(|e| *e as i64).collect();
            let shape = self.constant(&format!("{stem}.along"), Tensor::from_vec(&[shape.len()], shape));
            bias = self.node(&format!("{stem}.bias"), "Reshape", &[&bias, &shape]);
        }
        let name = format!("{}.biased", product.label);
        self.nodes.push(Node::new(&name, "Add", &[&scaled, &bias], &[&product.output]));
    }
}
