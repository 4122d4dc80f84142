//! Moments of the rows of numbers that a layer's weights multiply: their means and their products with each other, of which
//! first-order rounding needs the squares alone.

use std::fmt;

use kiln_compiler::{Compiler, DType, Model, Tensor};
use kiln_onnx::{Document, Node};

use crate::layers::Weights;
use crate::machine::Machine;
use crate::run::Result;
use crate::window::Window;

/// Rows that are kept of all samples together, at least: more than enough for a mean.
const ROWS: usize = 4096;
/// The same where many groups have rows of their own, which are short.
const ROWS_OF_GROUPS: usize = 1024;
/// Rows for each number of a row, where products of all with all are needed.
const ROWS_PER_DEPTH: usize = 4;
/// So many times more, where what is left of a row is solved for by them.
const THOROUGH: usize = 4;
/// Products with each other are kept for rows of at most so many numbers: 200 MB of f32.
const MOST_DEPTH: usize = 7168;
/// Rows that are multiplied at a time.
const BLOCK: usize = 256;
/// Rows of at most so many numbers are multiplied here, others by a kernel.
const SMALL: usize = 32;

/// What is kept of a layer's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Sums and squares.
    Squares,
    /// Products of all numbers with all too.
    Products,
    /// The same of more rows, for those who solve for weights by them.
    Thorough,
    /// And products with the rows of another model, which [`Moments::see_beside`] takes in.
    Beside,
}

/// Moments of the rows of one layer, group by group.
pub struct Moments {
    depth: usize,
    groups: usize,
    /// Rows of a sample that are looked at.
    per_sample: usize,
    rows: usize,
    sums: Vec<f64>,
    squares: Vec<f64>,
    /// By group, `depth x depth`, where they are wanted.
    products: Option<Vec<Vec<f32>>>,
    /// By group, rows that wait to be multiplied.
    waiting: Vec<Vec<f32>>,
    /// What another model has at the same places, where that is wanted.
    other: Option<Other>,
    multiplier: Option<Model>,
}

/// Rows of another model at the same places, and their products with the rows of this one.
struct Other {
    sums: Vec<f64>,
    /// By group, `depth x depth`: a row for each number of this model's rows.
    products: Vec<Vec<f32>>,
    waiting: Vec<Vec<f32>>,
}

impl fmt::Debug for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "moments of {} rows of {} x {}", self.rows, self.groups, self.depth)
    }
}

impl Moments {
    /// For so many samples.
    pub fn of(weights: &Weights, detail: Detail, samples: usize) -> Self {
        let (depth, groups) = (weights.depth, weights.groups);
        let full = detail != Detail::Squares && depth <= MOST_DEPTH;
        let factor = if matches!(detail, Detail::Squares | Detail::Products) { 1 } else { THOROUGH };
        let least = if groups > 1 { ROWS_OF_GROUPS } else { factor * ROWS };
        let wanted = if full { least.max(factor * ROWS_PER_DEPTH * depth) } else { least };
        Self {
            depth,
            groups,
            per_sample: wanted.div_ceil(samples.max(1)),
            rows: 0,
            sums: vec![0.0; groups * depth],
            squares: vec![0.0; groups * depth],
            products: full.then(|| vec![vec![0.0; depth * depth]; groups]),
            waiting: vec![Vec::new(); if full { groups } else { 0 }],
            other: (full && detail == Detail::Beside).then(|| Other {
                sums: vec![0.0; groups * depth],
                products: vec![vec![0.0; depth * depth]; groups],
                waiting: vec![Vec::new(); groups],
            }),
            multiplier: None,
        }
    }

    /// Takes in the activations of a sample: rows at about equal distances.
    pub fn see(&mut self, window: &Window, x: &[f32], shape: &[usize], machine: &Machine) -> Result<()> {
        self.see_beside(window, x, x, shape, machine)
    }

    /// Takes in the activations of a sample, and what another model has there.
    pub fn see_beside(
        &mut self,
        window: &Window,
        x: &[f32],
        other: &[f32],
        shape: &[usize],
        machine: &Machine,
    ) -> Result<()> {
        let all = window.rows(shape);
        let taken = all.min(self.per_sample);
        let mut row = Vec::with_capacity(self.depth);
        for n in 0..taken {
            // Each from another part of its stretch, so that no column of an image is preferred.
            let (from, to) = (n * all / taken, (n + 1) * all / taken);
            let at = from + (n * 7919 + self.rows * 31) % (to - from).max(1);
            for g in 0..self.groups {
                window.gather(x, shape, g, at, &mut row);
                let place = g * self.depth;
                for (i, &v) in row.iter().take(self.depth).enumerate() {
                    self.sums[place + i] += f64::from(v);
                    self.squares[place + i] += f64::from(v) * f64::from(v);
                }
                if let Some(waiting) = self.waiting.get_mut(g) {
                    waiting.extend_from_slice(&row);
                }
                if let Some(beside) = &mut self.other {
                    window.gather(other, shape, g, at, &mut row);
                    let sums = &mut beside.sums[place..place + self.depth];
                    sums.iter_mut().zip(&row).for_each(|(sum, v)| *sum += f64::from(*v));
                    beside.waiting[g].extend_from_slice(&row);
                }
            }
            self.rows += 1;
            if self.waiting.first().is_some_and(|w| w.len() >= BLOCK * self.depth) {
                self.multiply(machine)?;
            }
        }
        Ok(())
    }

    /// Ends the taking in: what waits is multiplied.
    pub fn finish(&mut self, machine: &Machine) -> Result<()> {
        self.multiply(machine)?;
        self.multiplier = None;
        Ok(())
    }

    /// Multiplies the rows that wait.
    fn multiply(&mut self, machine: &Machine) -> Result<()> {
        let Some(products) = &mut self.products else { return Ok(()) };
        let mut product = Product { depth: self.depth, multiplier: &mut self.multiplier, machine };
        for (g, (rows, products)) in self.waiting.iter_mut().zip(products).enumerate() {
            product.add(rows, rows, products)?;
            if let Some(other) = &mut self.other {
                product.add(rows, &other.waiting[g], &mut other.products[g])?;
                other.waiting[g].clear();
            }
            rows.clear();
        }
        Ok(())
    }

    /// The mean of each number of a group's rows.
    pub fn means(&self, group: usize) -> Vec<f64> {
        self.part(&self.sums, group)
    }

    /// The mean square of each number of a group's rows.
    pub fn squares(&self, group: usize) -> Vec<f64> {
        self.part(&self.squares, group)
    }

    fn part(&self, of: &[f64], group: usize) -> Vec<f64> {
        let rows = self.rows.max(1) as f64;
        of[group * self.depth..][..self.depth].iter().map(|v| v / rows).collect()
    }

    /// The mean products of a group's numbers with each other, where they were kept.
    pub fn products(&self, group: usize) -> Option<Vec<f64>> {
        let rows = self.rows.max(1) as f64;
        let products = self.products.as_ref()?.get(group)?;
        Some(products.iter().map(|v| f64::from(*v) / rows).collect())
    }

    /// The mean of each number of a group's rows in the other model, where it was seen.
    pub fn other_means(&self, group: usize) -> Option<Vec<f64>> {
        Some(self.part(&self.other.as_ref()?.sums, group))
    }

    /// The mean products of a group's numbers, by rows, with those of the other model.
    pub fn products_with_other(&self, group: usize) -> Option<Vec<f64>> {
        let rows = self.rows.max(1) as f64;
        let products = self.other.as_ref()?.products.get(group)?;
        Some(products.iter().map(|v| f64::from(*v) / rows).collect())
    }
}

/// Products of rows, with a kernel where they are long.
struct Product<'a> {
    depth: usize,
    multiplier: &'a mut Option<Model>,
    machine: &'a Machine,
}

impl Product<'_> {
    /// Adds `a^T b`; zeros fill the last block.
    fn add(&mut self, a: &[f32], b: &[f32], to: &mut [f32]) -> Result<()> {
        let depth = self.depth;
        if depth <= SMALL {
            for (a, b) in a.chunks_exact(depth).zip(b.chunks_exact(depth)) {
                for (&a, to) in a.iter().zip(to.chunks_exact_mut(depth)) {
                    to.iter_mut().zip(b).for_each(|(to, b)| *to += a * b);
                }
            }
            return Ok(());
        }
        let multiplier = match &mut *self.multiplier {
            Some(model) => model,
            none => none.insert(multiplier(depth, self.machine)?),
        };
        for (a, b) in a.chunks(BLOCK * depth).zip(b.chunks(BLOCK * depth)) {
            let block = |rows: &[f32]| {
                let mut block = rows.to_vec();
                block.resize(BLOCK * depth, 0.0);
                Tensor::from_vec(&[BLOCK, depth], block)
            };
            let found = multiplier.run(&[block(a), block(b)])?;
            to.iter_mut().zip(found[0].as_slice::<f32>()?.iter()).for_each(|(to, v)| *to += v);
        }
        Ok(())
    }
}

/// `x^T y` for a block of rows.
fn multiplier(depth: usize, machine: &Machine) -> Result<Model> {
    let mut document = Document::new("products", 17);
    document.add_input("x", DType::F32, &[BLOCK, depth]);
    document.add_input("y", DType::F32, &[BLOCK, depth]);
    document.nodes_mut().extend([
        Node::new("turned", "Transpose", &["x"], &["t"]),
        Node::new("products", "MatMul", &["t", "y"], &["z"]),
    ]);
    document.add_outputs(["z"]);
    let compiler = Compiler::from_bytes(document.to_bytes()?).cpu(&machine.cpu).features(&machine.features);
    compiler.jit(machine.threads)
}
