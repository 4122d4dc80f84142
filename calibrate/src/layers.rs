//! The products of a model that are read as matrices, and why others are not.

use kiln_ir::Tensor;
use kiln_onnx::Node;

use crate::view::View;
use crate::window::Window;

/// A product of activations with constant weights, or of two activations.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The node's position.
    pub node: usize,
    /// What messages and options call it.
    pub label: String,
    /// The operator.
    pub op: String,
    /// The activations.
    pub input: String,
    /// The result.
    pub output: String,
    /// What the activations are multiplied by.
    pub factor: Factor,
}

/// The second factor of a product.
#[derive(Clone, Debug)]
pub enum Factor {
    /// Constant weights.
    Weights(Weights),
    /// Other activations.
    Activations(String),
}

/// Constant weights: a matrix of `rows` channels of results by `depth` products each.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The constant.
    pub name: String,
    /// The bias, a constant with one element for each row.
    pub bias: Option<String>,
    /// Whether the node may have a bias.
    pub takes_bias: bool,
    /// The axis of the rows; the weights' others are the depth, in order.
    pub axis: usize,
    /// Channels of results.
    pub rows: usize,
    /// Products of each.
    pub depth: usize,
    /// Rows fall into so many groups, of which each reads channels of its own.
    pub groups: usize,
    /// How activations become rows of `depth` numbers.
    pub window: Window,
}

impl Layer {
    /// The weights, unless both factors are activations.
    pub fn weights(&self) -> Option<&Weights> {
        match &self.factor {
            Factor::Weights(weights) => Some(weights),
            Factor::Activations(_) => None,
        }
    }

    /// The activations that are multiplied.
    pub fn activations(&self) -> Vec<&str> {
        match &self.factor {
            Factor::Weights(_) => vec![&self.input],
            Factor::Activations(other) => vec![&self.input, other],
        }
    }
}

/// A product that stays as it is.
#[derive(Clone, Debug)]
pub struct Left {
    /// The node's position.
    pub node: usize,
    /// What messages and options call it.
    pub label: String,
    /// The operator.
    pub op: String,
    /// Bytes of its constants.
    pub weight_bytes: usize,
    /// Why it is none of the layers.
    pub why: &'static str,
}

/// Operators whose work is products. `ConvTranspose` and the recurrent ones have no integer form.
const PRODUCTS: &[&str] =
    &["Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN", "DeformConv", "Attention"];

/// The products of a model in order.
pub fn find(view: &View<'_>) -> (Vec<Layer>, Vec<Left>) {
    let (mut layers, mut left) = (Vec::new(), Vec::new());
    for (i, node) in view.nodes().iter().enumerate().filter(|(_, n)| PRODUCTS.contains(&n.op())) {
        match layer(view, i, node) {
            Ok(layer) => layers.push(layer),
            Err(why) => {
                let weights = node.inputs().iter().filter_map(|n| view.constant(n));
                let weight_bytes = weights.map(|t| t.data.len()).sum();
                let (label, op) = (node.label().to_owned(), node.op().to_owned());
                left.push(Left { node: i, label, op, weight_bytes, why });
            }
        }
    }
    (layers, left)
}

fn layer(view: &View<'_>, position: usize, node: &Node) -> Result<Layer, &'static str> {
    let (Some(x), Some(w), [output, ..]) = (node.input(0), node.input(1), node.outputs()) else {
        return Err("an operand is missing");
    };
    let factor = match node.op() {
        "Conv" => Factor::Weights(conv(view, node, w)?),
        "Gemm" => Factor::Weights(gemm(view, node, w)?),
        "MatMul" => match view.constant(w) {
            Some(_) => Factor::Weights(matmul(view, w)?),
            None => Factor::Activations(w.to_owned()),
        },
        _ => return Err("the operator is none of Conv, Gemm and MatMul"),
    };
    if view.constant(x).is_some() {
        return Err("the first operand is a constant");
    }
    Ok(Layer {
        node: position,
        label: node.label().to_owned(),
        op: node.op().to_owned(),
        input: x.to_owned(),
        output: output.clone(),
        factor,
    })
}

/// Constant weights of f32 that are finite.
fn weights<'d>(view: &View<'d>, name: &str) -> Result<&'d Tensor, &'static str> {
    let tensor = view.constant(name).ok_or("the weights are computed at run time")?;
    let values = tensor.as_slice::<f32>().map_err(|_| "the weights are not of f32")?;
    match values.iter().all(|v| v.is_finite()) {
        true if tensor.elements() > 0 => Ok(tensor),
        true => Err("the weights have no elements"),
        false => Err("the weights hold infinities or NaN"),
    }
}

/// A bias with one element for each row.
fn bias(view: &View<'_>, name: Option<&str>, rows: usize) -> Result<Option<String>, &'static str> {
    let Some(name) = name else { return Ok(None) };
    let tensor = view.floats(name).ok_or("the bias is no constant of f32")?;
    let values = tensor.as_slice::<f32>().map_err(|_| "the bias is not of f32")?;
    match tensor.shape == [rows] && values.iter().all(|v| v.is_finite()) {
        true => Ok(Some(name.to_owned())),
        false => Err("the bias is no vector of finite numbers along the columns"),
    }
}

fn conv(view: &View<'_>, node: &Node, w: &str) -> Result<Weights, &'static str> {
    let tensor = weights(view, w)?;
    let groups = usize::try_from(node.int("group").unwrap_or(1)).unwrap_or(0);
    let [rows, ..] = tensor.shape[..] else { return Err("the weights have no axis") };
    if tensor.shape.len() < 3 || groups == 0 || rows % groups != 0 {
        return Err("the weights do not fit the operator");
    }
    let window = Window::of(node, &tensor.shape).ok_or("the attributes do not fit the weights")?;
    Ok(Weights {
        name: w.to_owned(),
        bias: bias(view, node.input(2), rows)?,
        takes_bias: true,
        axis: 0,
        rows,
        depth: tensor.shape[1..].iter().product(),
        groups,
        window,
    })
}

/// Whether a Gemm is a product and a bias and nothing more.
pub fn is_plain(gemm: &Node) -> bool {
    let one = |name: &str| gemm.float(name).is_none_or(|v| v == 1.0);
    one("alpha") && one("beta") && gemm.int("transA").unwrap_or(0) == 0
}

fn gemm(view: &View<'_>, node: &Node, w: &str) -> Result<Weights, &'static str> {
    let tensor = weights(view, w)?;
    let [first, second] = tensor.shape[..] else { return Err("the weights are no matrix") };
    if !is_plain(node) {
        return Err("alpha, beta or transA change the product");
    }
    let turned = node.int("transB").unwrap_or(0) != 0;
    let (rows, depth) = if turned { (first, second) } else { (second, first) };
    Ok(Weights {
        name: w.to_owned(),
        bias: bias(view, node.input(2), rows)?,
        takes_bias: true,
        axis: usize::from(!turned),
        rows,
        depth,
        groups: 1,
        window: Window::Rows,
    })
}

fn matmul(view: &View<'_>, w: &str) -> Result<Weights, &'static str> {
    let tensor = weights(view, w)?;
    let [depth, rows] = tensor.shape[..] else { return Err("the weights are several matrices or a vector") };
    Ok(Weights {
        name: w.to_owned(),
        bias: None,
        takes_bias: false,
        axis: 1,
        rows,
        depth,
        groups: 1,
        window: Window::Rows,
    })
}
