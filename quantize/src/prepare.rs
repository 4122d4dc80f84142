//! What a model is before it is quantised: constants as such, and BatchNormalization part of the product before it.

use kiln_calibrate::{Names, View, is_plain, settle_constants};
use kiln_ir::{Result, Tensor};
use kiln_onnx::{Document, Node};

/// Makes constants of `Constant` nodes and of copies of constants, and folds normalisations into products.
pub(crate) fn prepare(document: &mut Document) -> Result<()> {
    settle_constants(document);
    loop {
        let folds = folds(document)?;
        if folds.is_empty() {
            break;
        }
        apply(document, folds);
    }
    document.drop_unused();
    Ok(())
}

/// A normalisation that becomes part of the product before it.
struct Fold {
    product: usize,
    normalisation: usize,
    weights: Tensor,
    bias: Tensor,
}

/// All that can be done at once: no two of one product.
fn folds(document: &Document) -> Result<Vec<Fold>> {
    let view = View::of(document);
    let mut out = Vec::new();
    for (i, node) in view.nodes().iter().enumerate() {
        if let Some(fold) = fold(&view, i, node)? {
            out.push(fold);
        }
    }
    Ok(out)
}

fn fold(view: &View<'_>, normalisation: usize, node: &Node) -> Result<Option<Fold>> {
    let trains = node.int("training_mode").unwrap_or(0) != 0 || node.int("spatial") == Some(0);
    if node.op() != "BatchNormalization" || trains || node.outputs().iter().skip(1).any(|o| !o.is_empty()) {
        return Ok(None);
    }
    let Some(x) = node.input(0) else { return Ok(None) };
    let Some((product, before)) = view.producer(x) else { return Ok(None) };
    if view.sole_reader(x) != Some(normalisation) {
        return Ok(None);
    }
    // Whether the channels are the outermost axis of the weights.
    let outermost = match before.op() {
        "Conv" => true,
        "Gemm" if is_plain(before) => before.int("transB").unwrap_or(0) != 0,
        _ => return Ok(None),
    };
    let parameters: Option<Vec<Vec<f64>>> =
        (1..5).map(|i| node.input(i).and_then(|n| view.floats(n)).and_then(|t| t.to_f64s().ok())).collect();
    let weights = before.input(1).and_then(|w| view.floats(w));
    let (Some(parameters), Some(weights)) = (parameters, weights) else { return Ok(None) };
    let [gamma, beta, mean, variance] = &parameters[..] else { return Ok(None) };
    let channels = gamma.len();
    let axis = if outermost { 0 } else { 1 };
    let fits = weights.shape.get(axis) == Some(&channels) && parameters.iter().all(|p| p.len() == channels);
    if !fits || !outermost && weights.shape.len() != 2 {
        return Ok(None);
    }
    let bias = match before.input(2) {
        None => vec![0.0; channels],
        Some(name) => match view.floats(name).map(Tensor::to_f64s).transpose()? {
            Some(bias) if bias.len() == channels => bias,
            _ => return Ok(None),
        },
    };
    let epsilon = f64::from(node.float("epsilon").unwrap_or(1e-5));
    let factors: Vec<f64> = gamma.iter().zip(variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let inner: usize = if outermost { weights.shape[1..].iter().product() } else { 1 };
    let scaled = weights.to_f64s()?.into_iter().enumerate();
    let scaled = scaled.map(|(i, w)| (w * factors[i / inner % channels]) as f32).collect();
    let bias = (0..channels).map(|c| ((bias[c] - mean[c]) * factors[c] + beta[c]) as f32).collect();
    Ok(Some(Fold {
        product,
        normalisation,
        weights: Tensor::from_vec(&weights.shape, scaled),
        bias: Tensor::from_vec(&[channels], bias),
    }))
}

fn apply(document: &mut Document, folds: Vec<Fold>) {
    let mut names = Names::of(document);
    let mut gone = Vec::new();
    for fold in folds {
        let result = document.nodes()[fold.normalisation].outputs()[0].clone();
        let product = &document.nodes()[fold.product];
        let stem = product.inputs()[1].clone();
        let weights = names.fresh(&format!("{stem}.folded"));
        document.set_constant(&weights, fold.weights);
        let bias = names.fresh(&format!("{stem}.bias"));
        document.set_constant(&bias, fold.bias);
        let product = &mut document.nodes_mut()[fold.product];
        product.set_input(1, &weights);
        product.set_input(2, &bias);
        product.set_output(0, &result);
        gone.push(fold.normalisation);
    }
    let mut at = 0;
    document.nodes_mut().retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
}
