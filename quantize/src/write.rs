//! The quantised model: QuantizeLinear and DequantizeLinear around what computes with integers.
//!
//! ```text
//!   x -> Conv(x, w, b) -> Relu -> y            x -> Q -> DQ -> Conv(., DQ(w.q), DQ(b.q)) -> Q -> DQ -> y.dq
//! ```
//!
//! Everybody who reads an activation that is an integer reads the same one. A Relu or Clip between a product and a
//! QuantizeLinear whose range ends where it cuts does nothing any more and is left out.

use std::collections::{BTreeMap, HashMap};

use kiln_calibrate::{Layer, Names, Result, View, Weights, turned};
use kiln_compiler::{DType, Tensor};
use kiln_onnx::{Document, Node};

use crate::options::Width;
use crate::points::Points;
use crate::ranges::Numbers;
use crate::weights::Integers;

/// What a layer is written with.
pub(crate) struct Part<'a> {
    pub(crate) layer: &'a Layer,
    /// Of a layer with weights.
    pub(crate) integers: Option<&'a Integers>,
}

/// Writes a model whose `points` are numbered by `numbers`, which has an entry for each group.
pub(crate) fn write(
    document: &Document,
    parts: &[Part<'_>],
    points: &Points,
    numbers: &BTreeMap<String, Numbers>,
    width: Width,
) -> Result<Document> {
    let view = View::of(document);
    let mut out = document.clone();
    let mut writer = Writer {
        names: Names::of(document),
        nodes: Vec::with_capacity(view.nodes().len() + 2 * points.groups.len()),
        constants: Vec::new(),
        parameters: HashMap::new(),
        zeros: HashMap::new(),
        read_as: HashMap::new(),
        width,
    };
    for value in points.groups.keys() {
        let name = writer.names.fresh(&format!("{value}.dq"));
        writer.read_as.insert(value.clone(), name);
    }
    let of = |value: &str| points.groups.get(value).and_then(|g| Some((g, *numbers.get(g)?)));
    for input in document.inputs() {
        if let Some((group, numbers)) = of(&input.name) {
            writer.activation(&input.name, &input.name, group, numbers);
        }
    }
    let layers: HashMap<usize, &Part<'_>> = parts.iter().map(|p| (p.layer.node, p)).collect();
    let idle = idle(&view, points, &of);
    for (i, node) in view.nodes().iter().enumerate() {
        let mut node = node.clone();
        if let Some(from) = idle.get(&i) {
            let result = node.outputs()[0].clone();
            if let Some((group, numbers)) = of(&result) {
                writer.activation(&result, from, group, numbers);
            }
            continue;
        }
        for at in 0..node.inputs().len() {
            if let Some(name) = writer.read_as.get(&node.inputs()[at]) {
                node.set_input(at, name);
            }
        }
        if let Some(part) = layers.get(&i)
            && let (Some(weights), Some(integers)) = (part.layer.weights(), part.integers)
        {
            let input = of(&part.layer.input).map(|(_, numbers)| numbers);
            writer.weights(document, &mut node, weights, integers, input)?;
        }
        let results = node.outputs().to_vec();
        writer.nodes.push(node);
        for result in results {
            if let Some((group, numbers)) = of(&result) {
                writer.activation(&result, &result, group, numbers);
            }
        }
    }
    *out.nodes_mut() = writer.nodes;
    for (name, tensor) in writer.constants {
        out.set_constant(&name, tensor);
    }
    out.drop_unused();
    Ok(out)
}

/// Nodes that do nothing before their result is quantised, and what they read.
fn idle<'a>(
    view: &View<'a>,
    points: &Points,
    of: &dyn Fn(&str) -> Option<(&'a String, Numbers)>,
) -> BTreeMap<usize, String> {
    let mut out = BTreeMap::new();
    for value in points.groups.keys().filter(|v| !view.is_seen(v)) {
        let Some((position, node)) = view.producer(value) else { continue };
        let (Some(x), Some((_, numbers))) = (node.input(0), of(value)) else { continue };
        let number =
            |bound: f64| (bound / f64::from(numbers.scale)).round_ties_even() + f64::from(numbers.zero);
        let bound = |i: usize, missing: f64| node.input(i).map_or(Some(missing), |n| view.number(n));
        let cuts = match node.op() {
            "Relu" => number(0.0) <= 0.0,
            "Clip" => match (bound(1, f64::NEG_INFINITY), bound(2, f64::INFINITY)) {
                (Some(lo), Some(hi)) => number(lo) <= 0.0 && number(hi) >= 255.0,
                _ => false,
            },
            _ => false,
        };
        if cuts && view.sole_reader(x) == Some(position) && !points.groups.contains_key(x) {
            out.insert(position, x.to_owned());
        }
    }
    out
}

struct Writer {
    names: Names,
    nodes: Vec<Node>,
    constants: Vec<(String, Tensor)>,
    /// By group: its scale and zero point.
    parameters: HashMap<String, (String, String)>,
    /// Zero points of so many rows.
    zeros: HashMap<usize, String>,
    /// By value: what its readers read.
    read_as: HashMap<String, String>,
    width: Width,
}

impl Writer {
    fn constant(&mut self, stem: &str, tensor: Tensor) -> String {
        let name = self.names.fresh(stem);
        self.constants.push((name.clone(), tensor));
        name
    }

    /// Numbers an activation; `from` is what makes it.
    fn activation(&mut self, value: &str, from: &str, group: &str, numbers: Numbers) {
        if !self.parameters.contains_key(group) {
            let scale = self.constant(&format!("{group}.scale"), Tensor::scalar(numbers.scale));
            let zero = self.constant(&format!("{group}.zero"), Tensor::scalar(numbers.zero));
            self.parameters.insert(group.to_owned(), (scale, zero));
        }
        let (scale, zero) = self.parameters[group].clone();
        let q = self.names.fresh(&format!("{value}.q"));
        let (name_q, name_dq) = (format!("{value}.quantize"), format!("{value}.dequantize"));
        self.nodes.push(Node::new(&name_q, "QuantizeLinear", &[from, &scale, &zero], &[&q]));
        let read_as = self.read_as[value].clone();
        self.nodes.push(Node::new(&name_dq, "DequantizeLinear", &[&q, &scale, &zero], &[&read_as]));
    }

    /// Gives a product integer weights and an integer bias.
    fn weights(
        &mut self,
        document: &Document,
        node: &mut Node,
        weights: &Weights,
        integers: &Integers,
        input: Option<Numbers>,
    ) -> Result<()> {
        let stem = &weights.name;
        let Some(tensor) = document.constant(stem) else { return Ok(()) };
        let (rows, depth) = (weights.rows, weights.depth);
        let values: Vec<i8> = integers.values.iter().map(|v| *v as i8).collect();
        let values = if weights.axis == 0 { values } else { turned(&values, rows, depth) };
        let q = self.constant(&format!("{stem}.q"), packed(&tensor.shape, values, self.width)?);
        let scales = Tensor::from_vec(&[rows], integers.scales.clone());
        let scale = self.constant(&format!("{stem}.scale"), scales);
        let zero = match self.zeros.get(&rows) {
            Some(name) => name.clone(),
            None => {
                let zeros = packed(&[rows], vec![0; rows], self.width)?;
                let name = self.constant(&format!("zeros.{rows}"), zeros);
                self.zeros.insert(rows, name.clone());
                name
            }
        };
        let result = self.names.fresh(&format!("{stem}.dq"));
        let dequantize =
            Node::new(&format!("{stem}.dequantize"), "DequantizeLinear", &[&q, &scale, &zero], &[&result]);
        self.nodes.push(dequantize.with_int("axis", weights.axis as i64));
        node.set_input(1, &result);
        let Some(input) = input.filter(|_| weights.takes_bias) else { return Ok(()) };
        let own = weights.bias.as_ref().and_then(|b| document.constant(b));
        let own = own.map(|t| t.to_f64s()).transpose()?.unwrap_or_else(|| vec![0.0; rows]);
        let scales: Vec<f32> = integers.scales.iter().map(|s| input.scale * s).collect();
        let whole = |((b, c), s): ((f64, &f64), &f32)| ((b + c) / f64::from(*s)).round_ties_even() as i32;
        let bias: Vec<i32> = own.into_iter().zip(&integers.correction).zip(&scales).map(whole).collect();
        let q = self.constant(&format!("{stem}.bias.q"), Tensor::from_vec(&[rows], bias));
        let scale = self.constant(&format!("{stem}.bias.scale"), Tensor::from_vec(&[rows], scales));
        let result = self.names.fresh(&format!("{stem}.bias.dq"));
        let dequantize =
            Node::new(&format!("{stem}.bias.dequantize"), "DequantizeLinear", &[&q, &scale], &[&result]);
        self.nodes.push(dequantize.with_int("axis", 0));
        node.set_input(2, &result);
        Ok(())
    }
}

/// Integers as a tensor of 8 or 4 bits.
fn packed(shape: &[usize], values: Vec<i8>, width: Width) -> Result<Tensor> {
    Ok(match width {
        Width::Int8 => Tensor::from_vec(shape, values),
        Width::Int4 => {
            let bytes: Vec<u8> = values.into_iter().map(|v| v as u8).collect();
            Tensor::new(DType::I4, shape.to_vec(), bytes.into())?
        }
    })
}
