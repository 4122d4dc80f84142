//! Which layers are pruned, and why others are not.

use std::collections::BTreeSet;

use kiln_calibrate::{Factor, Layer, Result, View, Weights, Window, layers};

use crate::matrix::Matrix;
use crate::options::Options;
use crate::pattern::Pattern;

/// Convolutions that read so few channels are thin.
const THIN: usize = 4;

/// A layer that stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) node: usize,
    pub(crate) label: String,
    pub(crate) op: String,
    pub(crate) output: String,
    /// Elements of its weights that are zero, and all.
    pub(crate) zeros: (usize, usize),
    pub(crate) why: String,
}

/// Names of all layers that could be pruned.
pub(crate) fn names(view: &View<'_>) -> Vec<String> {
    layers::find(view).0.into_iter().filter(|l| l.weights().is_some()).map(|l| l.label).collect()
}

/// The layers that are pruned, and those that stay.
pub(crate) fn select(view: &View<'_>, options: &Options) -> Result<(Vec<Matrix>, Vec<Kept>)> {
    let (found, left) = layers::find(view);
    let heads = heads(view, &found);
    let mut kept: Vec<Kept> = left
        .into_iter()
        .map(|l| {
            let output = view.node(l.node).outputs().first().cloned().unwrap_or_default();
            let zeros = (0, l.weight_bytes / 4);
            Kept { node: l.node, label: l.label, op: l.op, output, zeros, why: l.why.to_owned() }
        })
        .collect();
    let mut matrices = Vec::new();
    for layer in &found {
        let Factor::Weights(weights) = &layer.factor else { continue };
        let wish = wish(&options.layers, &layer.label);
        let mut matrix = Matrix::of(view, layer, weights, options.pattern)?;
        matrix.wish = wish;
        match unfit(view, layer, weights, heads.contains(&layer.node), wish, options.pattern) {
            None => matrices.push(matrix),
            Some(why) => kept.push(Kept {
                node: layer.node,
                label: layer.label.clone(),
                op: layer.op.clone(),
                output: layer.output.clone(),
                zeros: matrix.zeros(),
                why: why.to_owned(),
            }),
        }
    }
    Ok((matrices, kept))
}

/// What the last pattern that fits a name asks for.
fn wish(patterns: &[(String, f64)], name: &str) -> Option<f64> {
    patterns.iter().rev().find(|(p, _)| fits(p, name)).map(|(_, s)| *s)
}

/// Why a layer stays as it is.
fn unfit(
    view: &View<'_>,
    layer: &Layer,
    weights: &Weights,
    is_head: bool,
    wish: Option<f64>,
    pattern: Pattern,
) -> Option<&'static str> {
    if pattern == Pattern::Channels {
        return (weights.groups > 1)
            .then_some("in groups: it goes with the channels that it reads, or holds them");
    }
    if view.readers(&weights.name).len() != 1 || view.is_seen(&weights.name) {
        return Some("its weights are read elsewhere too");
    }
    if view.node(layer.node).inputs().iter().filter(|n| **n == weights.name).count() != 1 {
        return Some("its weights are read twice");
    }
    if wish == Some(0.0) {
        return Some("as asked for");
    }
    if wish.is_some() {
        return None;
    }
    match &weights.window {
        Window::Taps { channels: 1, groups, .. } if *groups > 1 => Some("depthwise: it has few weights"),
        Window::Taps { channels, groups, .. } if channels * groups <= THIN => {
            Some("a first layer that reads few channels")
        }
        _ if is_head => Some("it gives the model's result"),
        _ => None,
    }
}

/// Layers with weights behind which there is no other: those that give the results.
fn heads(view: &View<'_>, found: &[Layer]) -> BTreeSet<usize> {
    let products: BTreeSet<usize> = found.iter().filter(|l| l.weights().is_some()).map(|l| l.node).collect();
    // Whether another product is behind a node, from the last node up.
    let mut before_product = vec![false; view.nodes().len()];
    for i in (0..view.nodes().len()).rev() {
        let readers = view.nodes()[i].outputs().iter().flat_map(|o| view.readers(o));
        before_product[i] = readers.into_iter().any(|r| products.contains(r) || before_product[*r]);
    }
    products.into_iter().filter(|n| !before_product[*n]).collect()
}

/// Whether a name fits a pattern in which `*` is anything and `?` one character.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut i, mut j) = (0, 0);
    // Where the last star is, and what it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while j < n.len() {
        match p.get(i) {
            Some('*') => {
                star = Some((i, j));
                i += 1;
            }
            Some(c) if *c == '?' || *c == n[j] => (i, j) = (i + 1, j + 1),
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (i, j) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        for (pattern, name) in [
            ("*", ""),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("*conv*", "/f/conv.1"),
            ("*b*b", "abab"),
            ("x", "x"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a?c", "ac"), ("a*c", "acb"), ("", "a"), ("conv", "/conv"), ("*b", "aba")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
        let layers = [("*".to_owned(), 0.5), ("a".to_owned(), 0.0)];
        assert_eq!((wish(&layers, "a"), wish(&layers, "b")), (Some(0.0), Some(0.5)));
        assert_eq!(wish(&layers[1..], "b"), None);
    }
}
