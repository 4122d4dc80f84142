//! All that is known of a model before it is written, whichever of its layers stay float.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_calibrate::{Layer, Left, Result, Samples, View, Watch, layers};
use kiln_onnx::Document;

use crate::histogram::Histogram;
use crate::observe::{Observed, observe};
use crate::options::Options;
use crate::points::{self, Points};
use crate::ranges::{self, Numbers};
use crate::weights::{self, Integers};
use crate::write::{self, Part};

/// A float model, and what its layers and activations become.
pub(crate) struct Plan<'a> {
    pub(crate) document: &'a Document,
    pub(crate) layers: Vec<Layer>,
    pub(crate) left: Vec<Left>,
    observed: Observed,
    /// By layer; nothing for products of activations.
    integers: Vec<Option<Integers>>,
    options: &'a Options,
    /// Numbers of groups of activations, by their members.
    numbers: RefCell<HashMap<Vec<String>, Numbers>>,
}

impl<'a> Plan<'a> {
    /// Runs the float model on the samples and rounds the weights.
    pub(crate) fn make(
        document: &'a Document,
        options: &'a Options,
        samples: &dyn Samples,
        watch: &dyn Watch,
    ) -> Result<Self> {
        let view = View::of(document);
        let (layers, left) = layers::find(&view);
        let points = points::decide(&view, &layers);
        let values: BTreeSet<&str> = points.groups.keys().map(String::as_str).collect();
        let how = (options.method, options.rounding);
        let observed = observe(document, &values, &layers, how, samples, &options.machine, watch)?;
        let (integers, numbers) = (Vec::new(), RefCell::default());
        let mut plan = Self { document, layers, left, observed, integers, options, numbers };
        let numbers = plan.numbers(&points);
        for (i, layer) in plan.layers.iter().enumerate() {
            watch.at("weights", i, plan.layers.len());
            let of = |w: &layers::Weights| -> Result<Option<Integers>> {
                let Some(tensor) = document.constant(&w.name) else { return Ok(None) };
                let bias = w.bias.as_ref().and_then(|b| document.constant(b));
                let bias = bias.map(|b| b.as_slice::<f32>()).transpose()?;
                let group = points.groups.get(&layer.input);
                let scale = group.and_then(|g| numbers.get(g)).map(|n| n.scale);
                let moments = plan.observed.moments[i].as_ref();
                weights::integers(tensor, w, bias.as_deref(), moments, scale, options).map(Some)
            };
            let integers = layer.weights().map(of).transpose()?.flatten();
            plan.integers.push(integers);
        }
        plan.observed.moments.clear();
        Ok(plan)
    }

    /// The model in which these layers, by position, stay float.
    pub(crate) fn write(&self, float: &BTreeSet<usize>) -> Result<Document> {
        let view = View::of(self.document);
        let active = || self.layers.iter().enumerate().filter(|(i, _)| !float.contains(i));
        let points = points::decide(&view, active().map(|(_, layer)| layer));
        let parts: Vec<Part<'_>> =
            active().map(|(i, layer)| Part { layer, integers: self.integers[i].as_ref() }).collect();
        write::write(self.document, &parts, &points, &self.numbers(&points), self.options.width)
    }

    /// The numbers of each group of activations.
    fn numbers(&self, points: &Points) -> BTreeMap<String, Numbers> {
        let mut known = self.numbers.borrow_mut();
        let mut out = BTreeMap::new();
        for (group, members) in points.members() {
            let key: Vec<String> = members.iter().map(|m| (*m).to_owned()).collect();
            let numbers = known.entry(key).or_insert_with(|| {
                let parts = members.iter().filter_map(|m| self.observed.histograms.get(*m));
                let all = parts.fold(None, |all: Option<Histogram>, part| {
                    Some(all.map_or_else(|| part.clone(), |all| all.with(part)))
                });
                let range = all.map(|h| ranges::choose(&h, self.options.method));
                Numbers::over(range.unwrap_or_default())
            });
            out.insert(group.to_owned(), *numbers);
        }
        out
    }

    /// Bytes of a layer's constants before, and after where it is quantised.
    pub(crate) fn bytes(&self, layer: &Layer, is_float: bool) -> (usize, usize) {
        let Some(weights) = layer.weights() else { return (0, 0) };
        let bias = if weights.bias.is_some() { 4 * weights.rows } else { 0 };
        let before = 4 * weights.rows * weights.depth + bias;
        let bits = match self.options.width {
            crate::options::Width::Int8 => 8,
            crate::options::Width::Int4 => 4,
        };
        // Scales of weights and bias, and the bias.
        let rows = if weights.takes_bias { 12 } else { 4 } * weights.rows;
        let after = (weights.rows * weights.depth * bits).div_ceil(8) + rows;
        (before, if is_float { before } else { after })
    }
}
