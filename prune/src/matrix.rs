//! A layer's weights while they are pruned, and how its results can be moved.

use kiln_calibrate::{Layer, Result, View, Weights, rows, turned};
use kiln_compiler::Tensor;
use kiln_onnx::Document;

use crate::pattern::{Grid, Pattern};

/// A layer's weights, a row for each channel of its results.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) layer: Layer,
    pub(crate) weights: Weights,
    /// The weights of the model that was given, `rows x depth`.
    pub(crate) original: Vec<f64>,
    /// The weights now.
    pub(crate) now: Vec<f64>,
    /// What is added to each row's result for what was removed.
    pub(crate) sums: Vec<f64>,
    /// By block of rows and column: what is removed.
    pub(crate) dead: Vec<Vec<bool>>,
    /// By row: the square of what a normalisation multiplies its result by.
    pub(crate) scale: Vec<f64>,
    /// Where a sum for each row can be added to the result.
    pub(crate) shift: Shift,
    /// The result with that sum.
    pub(crate) tap: String,
    /// The part to be removed, where this layer has one of its own.
    pub(crate) wish: Option<f64>,
    pub(crate) grid: Grid,
}

/// Where a sum for each channel of a layer's result can be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    /// To this constant, a bias.
    Bias(String),
    /// From this constant it is taken away, the mean of a normalisation.
    Mean(String),
    /// The node takes a bias and has none.
    Missing,
    /// Nowhere.
    Nowhere,
}

impl Matrix {
    pub(crate) fn of(view: &View<'_>, layer: &Layer, weights: &Weights, pattern: Pattern) -> Result<Self> {
        let tensor = view.constant(&weights.name);
        let floats = tensor.map(|t| rows(t, weights)).transpose()?.unwrap_or_default();
        let original: Vec<f64> = floats.into_iter().map(f64::from).collect();
        let grid = Grid::of(weights, pattern);
        let (normalised, mean) = normalisation(view, layer, weights.rows);
        let (shift, tap) = shift(view, layer, weights, mean);
        Ok(Self {
            layer: layer.clone(),
            weights: weights.clone(),
            now: original.clone(),
            dead: vec![vec![false; weights.depth]; grid.rows.len()],
            scale: normalised.unwrap_or_else(|| vec![1.0; weights.rows]),
            sums: vec![0.0; weights.rows],
            shift,
            tap,
            wish: None,
            original,
            grid,
        })
    }

    /// The group of channels that a block of rows belongs to.
    pub(crate) fn group(&self, block: usize) -> usize {
        self.grid.rows[block].start / (self.weights.rows / self.weights.groups).max(1)
    }

    /// A row of some weights of this shape.
    pub(crate) fn row<'w>(&self, of: &'w [f64], row: usize) -> &'w [f64] {
        &of[row * self.weights.depth..(row + 1) * self.weights.depth]
    }

    /// Removes what is marked, and nothing else.
    pub(crate) fn clear(&mut self) {
        let depth = self.weights.depth;
        for (block, dead) in self.grid.rows.iter().zip(&self.dead) {
            for row in block.clone() {
                let line = &mut self.now[row * depth..(row + 1) * depth];
                line.iter_mut().zip(dead).filter(|(_, dead)| **dead).for_each(|(w, _)| *w = 0.0);
            }
        }
    }

    /// Whether anything of it is removed.
    pub(crate) fn is_pruned(&self) -> bool {
        self.dead.iter().flatten().any(|d| *d)
    }

    /// Elements that are zero now, and all.
    pub(crate) fn zeros(&self) -> (usize, usize) {
        (self.now.iter().filter(|w| **w == 0.0).count(), self.now.len())
    }

    /// The weights as the file has them.
    pub(crate) fn tensor(&self, shape: &[usize]) -> Tensor {
        let values: Vec<f32> = self.now.iter().map(|w| *w as f32).collect();
        let values = match self.weights.axis {
            0 => values,
            _ => turned(&values, self.weights.rows, self.weights.depth),
        };
        Tensor::from_vec(shape, values)
    }

    /// Writes the weights, and what is added to the result, into a copy of the model that was given.
    pub(crate) fn write(&self, document: &mut Document) -> Result<()> {
        if let Some(shape) = document.constant(&self.weights.name).map(|t| t.shape.clone()) {
            document.set_constant(&self.weights.name, self.tensor(&shape));
        }
        if self.sums.iter().all(|s| *s == 0.0) {
            return Ok(());
        }
        let (name, sign) = match &self.shift {
            Shift::Bias(name) => (name, 1.0),
            Shift::Mean(name) => (name, -1.0),
            Shift::Missing => return self.give_bias(document),
            Shift::Nowhere => return Ok(()),
        };
        let Some(tensor) = document.constant(name) else { return Ok(()) };
        let old = tensor.to_f64s()?;
        let new = old.iter().zip(&self.sums).map(|(o, s)| (o + sign * s) as f32).collect();
        let shape = tensor.shape.clone();
        document.set_constant(name, Tensor::from_vec(&shape, new));
        Ok(())
    }

    /// Gives the node a bias.
    fn give_bias(&self, document: &mut Document) -> Result<()> {
        let name = kiln_calibrate::Names::of(document).fresh(&format!("{}.bias", self.weights.name));
        let sums = self.sums.iter().map(|s| *s as f32).collect();
        document.set_constant(&name, Tensor::from_vec(&[self.weights.rows], sums));
        let output = &self.layer.output;
        let node = document.nodes_mut().iter_mut().find(|n| n.outputs().first() == Some(output));
        if let Some(node) = node {
            node.set_input(2, &name);
        }
        Ok(())
    }
}

/// The squares of the factors of a BatchNormalization that alone reads the result, and its mean.
fn normalisation(view: &View<'_>, layer: &Layer, rows: usize) -> (Option<Vec<f64>>, Option<String>) {
    let none = (None, None);
    let Some(reader) = view.sole_reader(&layer.output) else { return none };
    let node = view.node(reader);
    if node.op() != "BatchNormalization" || node.int("training_mode").unwrap_or(0) != 0 {
        return none;
    }
    let constant = |i: usize| {
        let values = node.input(i).and_then(|n| view.floats(n)).and_then(|t| t.to_f64s().ok());
        values.filter(|v| v.len() == rows)
    };
    let (Some(gamma), Some(variance)) = (constant(1), constant(4)) else { return none };
    let epsilon = f64::from(node.float("epsilon").unwrap_or(1e-5));
    let squares: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g * g / (v + epsilon)).collect();
    let useful = squares.iter().all(|s| s.is_finite()) && squares.iter().any(|s| *s > 0.0);
    let mean = node.input(3).filter(|n| view.readers(n).len() == 1 && constant(3).is_some());
    (useful.then_some(squares), mean.map(str::to_owned))
}

/// Where a sum can be added to the result, and the value that has it then.
fn shift(view: &View<'_>, layer: &Layer, weights: &Weights, mean: Option<String>) -> (Shift, String) {
    let own = |name: &str| {
        let vector = |t: &Tensor| t.shape.last() == Some(&weights.rows) && t.elements() == weights.rows;
        view.readers(name).len() == 1 && !view.is_seen(name) && view.floats(name).is_some_and(vector)
    };
    let output = || layer.output.clone();
    if let Some(bias) = weights.bias.as_deref().filter(|b| own(b)) {
        return (Shift::Bias(bias.to_owned()), output());
    }
    if let Some(reader) = view.sole_reader(&layer.output).map(|r| view.node(r)) {
        let after = reader.outputs().first().cloned().unwrap_or_default();
        if let Some(mean) = mean {
            return (Shift::Mean(mean), after);
        }
        // A sum with a constant behind a product of matrices.
        if reader.op() == "Add"
            && layer.op != "Conv"
            && let Some(bias) = reader.inputs().iter().find(|n| **n != layer.output && own(n))
        {
            return (Shift::Bias(bias.clone()), after);
        }
    }
    match weights.takes_bias && weights.bias.is_none() {
        true => (Shift::Missing, output()),
        false => (Shift::Nowhere, output()),
    }
}
