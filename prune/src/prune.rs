//! The whole of it: a model and samples to a pruned model and what became of its layers.

use std::collections::BTreeSet;

use kiln_calibrate::{
    Evaluator, Moments, Result, Samples, Verdict, View, Watch, layers as products, settle_constants, times,
};
use kiln_compiler::Problem;
use kiln_onnx::Document;

use crate::channels::{self, Group, Lanes};
use crate::masks;
use crate::matrix::Matrix;
use crate::options::{Budget, Options, Saliency};
use crate::parallel;
use crate::pattern::Pattern;
use crate::second::{Second, is_centred, observe};
use crate::select::{self, Kept};
use crate::time::{self, Level};
use crate::trace::{Known, Trace, is_short, traces};
use crate::{solve, statistics, write};

/// How often weights are solved for at the end, on what the pruned model itself gives.
const REPAIRS: usize = 2;
/// Parts of a layer that are tried where the time decides.
const LEVELS: &[f64] = &[0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95];

/// What became of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The node's name, or that of its result.
    pub node: String,
    /// The operator.
    pub op: String,
    /// The part of its weights that is zero, or of what they were that is gone.
    pub sparsity: f64,
    /// What was removed together: `4x1`, `2:4`, `channels`; `dense` where nothing was.
    pub block: String,
    /// The root of the mean square of the differences of its result from the given model's, relative to that.
    pub error: Option<f64>,
    /// Milliseconds in the given model.
    pub ms_dense: Option<f64>,
    /// Milliseconds in the pruned one.
    pub ms_sparse: Option<f64>,
    /// Why it stays as it was; empty where it does not.
    pub why: String,
}

/// A pruned model.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The model: the file that was given, but for constants.
    pub model: Document,
    /// Its layers with weights, in order.
    pub layers: Vec<Layer>,
    /// The part of the weights of the pruned layers that is zero, or gone.
    pub sparsity: f64,
    /// The same of all layers with weights.
    pub sparsity_of_model: f64,
    /// The root of the mean square of the differences of the results, relative to these; nothing without samples.
    pub error: Option<f64>,
    /// How often the given model is right, of 1, where there are labels.
    pub accuracy_before: Option<f64>,
    /// How often the pruned model is right.
    pub accuracy_after: Option<f64>,
    /// Milliseconds of a run on one thread, before and after.
    pub ms: Option<(f64, f64)>,
}

/// Names of the layers of a model that could be pruned.
pub fn layers(document: &Document) -> Vec<String> {
    let mut given = document.clone();
    settle_constants(&mut given);
    select::names(&View::of(&given))
}

/// Whether a pattern with `*` and `?` fits a layer's name.
pub fn fits(pattern: &str, name: &str) -> bool {
    select::fits(pattern, name)
}

/// Prunes a model. `samples` are needed where the saliency, the reconstruction or the budget asks for them; `labels`, one for
/// each, are the positions of the largest element of the first result.
///
/// # Errors
///
/// *Invalid* where samples are missing or do not fit the model, or make values that are no numbers; *unsupported* where there
/// is nothing to prune, or the model is not compiled.
pub fn prune(
    file: Document,
    options: &Options,
    samples: Option<&dyn Samples>,
    labels: Option<&[i64]>,
    watch: &dyn Watch,
) -> Result<Outcome> {
    let needed = options.saliency.needs_data() || options.reconstruct || options.budget == Budget::Time;
    let count = samples.map_or(0, |s| s.count());
    if needed && count == 0 || labels.is_some_and(|l| l.len() != count) {
        let labels = labels.map_or(0, <[i64]>::len);
        let message = format!(
            "there are {count} samples and {labels} labels: samples are needed, and a label for each"
        );
        return Err(Problem::invalid(message).into());
    }
    let mut given = file.clone();
    settle_constants(&mut given);
    let view = View::of(&given);
    let (matrices, kept) = select::select(&view, options)?;
    if matrices.is_empty() {
        return Err(nothing(&kept).into());
    }
    let channels = match options.pattern {
        Pattern::Channels => Some(Channels::of(&view, &matrices)?),
        _ => None,
    };
    drop(view);
    let mut work = Work { given: &given, options, samples, watch, matrices, squares: None, channels };
    let evaluator =
        samples.map(|s| Evaluator::new(&given, s, labels, &options.machine, watch)).transpose()?;
    work.choose_and_solve()?;
    if let (Some(evaluator), Some(samples), true) = (&evaluator, samples, options.reconstruct) {
        work.repair(evaluator, samples)?;
    }
    let pruned = work.write()?;
    let errors = match &evaluator {
        Some(e) => {
            let taps: Vec<&str> = work.matrices.iter().map(|m| &*m.tap).collect();
            e.errors(&given, &pruned, &taps, watch)?.into_iter().map(Some).collect()
        }
        None => vec![None; work.matrices.len()],
    };
    let model = match &work.channels {
        None => write::changed(file, &given, &pruned),
        Some(channels) => {
            let mut shrunk = pruned.clone();
            channels::shrink(&mut shrunk, &channels.lanes, &channels.gone)?;
            let mut model = write::changed(file, &given, &shrunk);
            model.forget_types();
            write::set_groups(&mut model, &channels::groups_of_depthwise(&channels.lanes, &channels.gone));
            model
        }
    };
    let verdict = evaluator.as_ref().map(|e| e.judge(&model, watch)).transpose()?;
    let mut layers: Vec<(usize, Layer, (usize, usize))> = Vec::new();
    for (matrix, error) in work.matrices.iter().zip(errors) {
        let (layer, zeros) = match &work.channels {
            None => pruned_layer(matrix, error, options.pattern),
            Some(channels) => channels.layer(matrix, error),
        };
        layers.push((matrix.layer.node, layer, zeros));
    }
    let in_pruned = layers.iter().fold((0, 0), |s, (.., z)| (s.0 + z.0, s.1 + z.1));
    layers.extend(kept.iter().map(|k| (k.node, kept_layer(k), k.zeros)));
    layers.sort_by_key(|(node, ..)| *node);
    let in_all = layers.iter().fold((0, 0), |s, (.., z)| (s.0 + z.0, s.1 + z.1));
    let mut layers: Vec<Layer> = layers.into_iter().map(|(_, layer, _)| layer).collect();
    let mut ms = None;
    if let Some(samples) = samples {
        let names: Vec<String> = layers.iter().map(|l| l.node.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        watch.at("times", 0, 2);
        let before = times::measure(&given, &names, samples, &options.machine)?;
        watch.at("times", 1, 2);
        let after = times::measure(&model, &names, samples, &options.machine)?;
        for layer in &mut layers {
            layer.ms_dense = before.0.get(&layer.node).copied();
            layer.ms_sparse = after.0.get(&layer.node).copied();
        }
        ms = Some((before.1, after.1));
    }
    let share = |(zeros, all): (usize, usize)| zeros as f64 / all.max(1) as f64;
    Ok(Outcome {
        model,
        layers,
        sparsity: share(in_pruned),
        sparsity_of_model: share(in_all),
        error: verdict.map(|v| v.error),
        accuracy_before: evaluator.as_ref().and_then(|e| e.float_accuracy),
        accuracy_after: verdict.and_then(|v| v.accuracy),
        ms,
    })
}

/// What became of a layer, and its elements that are zero, and all.
fn pruned_layer(matrix: &Matrix, error: Option<f64>, pattern: Pattern) -> (Layer, (usize, usize)) {
    let (zeros, all) = matrix.zeros();
    let is_dense = !matrix.is_pruned();
    let layer = Layer {
        node: matrix.layer.label.clone(),
        op: matrix.layer.op.clone(),
        sparsity: zeros as f64 / all.max(1) as f64,
        block: if is_dense { "dense".to_owned() } else { pattern.to_string() },
        error,
        ms_dense: None,
        ms_sparse: None,
        why: if is_dense { "nothing of it was to be removed".to_owned() } else { String::new() },
    };
    (layer, (zeros, all))
}

fn kept_layer(kept: &Kept) -> Layer {
    Layer {
        node: kept.label.clone(),
        op: kept.op.clone(),
        sparsity: kept.zeros.0 as f64 / kept.zeros.1.max(1) as f64,
        block: "dense".to_owned(),
        error: None,
        ms_dense: None,
        ms_sparse: None,
        why: kept.why.clone(),
    }
}

/// Why there is nothing to prune.
fn nothing(kept: &[Kept]) -> Problem {
    match kept.first() {
        None => {
            Problem::unsupported("the model has no product of activations with weights: nothing to prune")
        }
        Some(first) => {
            let message = format!("no layer of the model is pruned, {} in all: {}", kept.len(), first.why);
            Problem::unsupported(message)
                .at(&first.label, &first.op)
                .hint("--layers PATTERN=S prunes layers that are left alone by default")
        }
    }
}

/// Channels that go, in a model that shrinks.
struct Channels {
    lanes: Lanes,
    groups: Vec<Group>,
    /// The lanes that are gone.
    gone: BTreeSet<usize>,
}

impl Channels {
    fn of(view: &View<'_>, matrices: &[Matrix]) -> Result<Self> {
        let lanes = Lanes::of(view, &products::find(view).0);
        let groups = channels::groups(&lanes, matrices);
        if !groups.is_empty() {
            return Ok(Self { lanes, groups, gone: BTreeSet::new() });
        }
        let error = |m: &Matrix| {
            let why = Self::why(&lanes, m);
            Problem::unsupported(format!("no channel of it can go: {why}")).at(&m.layer.label, &m.layer.op)
        };
        Err(kiln_compiler::Problems(matrices.iter().map(error).collect()).into())
    }

    /// Why all channels that a layer gives stay.
    fn why(lanes: &Lanes, matrix: &Matrix) -> String {
        let first = lanes.ends.get(&matrix.layer.node).and_then(|e| e.gives.first());
        let why = first.and_then(|lane| lanes.why(*lane)).unwrap_or("no layer reads its channels");
        why.to_owned()
    }

    /// What became of a layer, and its elements that are gone, and all.
    fn layer(&self, matrix: &Matrix, error: Option<f64>) -> (Layer, (usize, usize)) {
        let stays = |lane: &&usize| !self.gone.contains(&self.lanes.root(**lane));
        let ends = self.lanes.ends.get(&matrix.layer.node);
        let rows = ends.map_or(matrix.weights.rows, |e| e.gives.iter().filter(stays).count());
        let reads = ends.and_then(|e| e.reads.as_ref());
        let columns = reads.map_or(matrix.weights.depth, |r| {
            r.iter().filter(stays).count() * (matrix.weights.depth / r.len().max(1))
        });
        let all = matrix.original.len();
        let gone = all - rows * columns;
        let layer = Layer {
            node: matrix.layer.label.clone(),
            op: matrix.layer.op.clone(),
            sparsity: gone as f64 / all.max(1) as f64,
            block: if gone > 0 { Pattern::Channels.to_string() } else { "dense".to_owned() },
            error,
            ms_dense: None,
            ms_sparse: None,
            why: match rows == matrix.weights.rows {
                true => Self::why(&self.lanes, matrix),
                false => String::new(),
            },
        };
        (layer, (gone, all))
    }
}

/// A model while it is pruned.
struct Work<'a> {
    given: &'a Document,
    options: &'a Options,
    samples: Option<&'a dyn Samples>,
    watch: &'a dyn Watch,
    matrices: Vec<Matrix>,
    /// By layer and group of rows: mean squares of what is multiplied, in the given model.
    squares: Option<Vec<Vec<Vec<f64>>>>,
    channels: Option<Channels>,
}

impl Work<'_> {
    /// The model as it is.
    fn write(&self) -> Result<Document> {
        let mut document = self.given.clone();
        self.matrices.iter().try_for_each(|m| m.write(&mut document))?;
        Ok(document)
    }

    /// Moments of what layers multiply, where they are needed; after the first step beside those of the given model.
    fn observe(&mut self, is_pruned: bool) -> Result<Option<Vec<Moments>>> {
        let Some(samples) = self.samples else { return Ok(None) };
        if !self.options.saliency.needs_data() && !self.options.reconstruct {
            return Ok(None);
        }
        let now = is_pruned.then(|| self.write()).transpose()?;
        let machine = &self.options.machine;
        let found = observe(self.given, now.as_ref(), &self.matrices, samples, machine, self.watch)?;
        if !is_pruned {
            let of = |(m, matrix): (&Moments, &Matrix)| -> Vec<Vec<f64>> {
                (0..matrix.weights.groups).map(|g| m.squares(g)).collect()
            };
            self.squares = Some(found.iter().zip(&self.matrices).map(of).collect());
        }
        Ok(Some(found))
    }

    /// Second moments of a layer, by group of rows.
    fn seconds(&self, moments: Option<&[Moments]>, i: usize) -> Option<Vec<Second>> {
        let wanted = self.options.saliency == Saliency::Obs || self.options.reconstruct;
        let moments = &moments.filter(|_| wanted)?[i];
        let matrix = &self.matrices[i];
        let centred = is_centred(matrix, self.options.reconstruct);
        (0..matrix.weights.groups).map(|g| Second::of(moments, g, centred)).collect()
    }

    /// All steps of the schedule.
    fn choose_and_solve(&mut self) -> Result<()> {
        let schedule = self.options.schedule;
        let mut own: Vec<Option<f64>> = self.matrices.iter().map(|m| m.wish).collect();
        for step in 1..=schedule.steps() {
            let moments = self.observe(step > 1)?;
            if self.channels.is_some() {
                let part = schedule.part(step);
                self.mark_channels(moments.as_deref(), self.options.sparsity * part, &own, part);
                self.solve(moments.as_deref());
                continue;
            }
            let traces = self.traces(moments.as_deref());
            if step == 1 && self.options.budget == Budget::Time {
                self.by_time(&traces, &mut own)?;
            }
            let part = schedule.part(step);
            let parts: Vec<Option<f64>> = own.iter().map(|o| o.map(|o| o * part)).collect();
            let common = self.options.sparsity * part;
            let counts = masks::counts(&self.matrices, &traces, common, &parts, self.options);
            self.mark(moments.as_deref(), &traces, &counts);
            self.solve(moments.as_deref());
        }
        Ok(())
    }

    fn traces(&self, moments: Option<&[Moments]>) -> Vec<Vec<Trace>> {
        let count = self.matrices.len();
        let one = |(i, matrix): (usize, &Matrix)| {
            self.watch.at("what weights cost", i, count);
            let squares = self.squares.as_ref().map(|s| s[i].clone());
            let known = Known { matrix, squares, second: self.seconds(moments, i) };
            traces(&known, self.options.saliency, self.options.machine.threads)
        };
        self.matrices.iter().enumerate().map(one).collect()
    }

    /// Marks what is removed.
    fn mark(&mut self, moments: Option<&[Moments]>, traces: &[Vec<Trace>], counts: &[Vec<usize>]) {
        let threads = self.options.machine.threads;
        for i in 0..self.matrices.len() {
            let matrix = &self.matrices[i];
            let seconds = self.seconds(moments, i);
            let swept = match &seconds {
                Some(seconds) if self.options.saliency == Saliency::Obs && !is_short(matrix) => {
                    masks::by_sweep(matrix, seconds, &counts[i], threads)
                }
                _ => None,
            };
            let dead = swept.unwrap_or_else(|| masks::of_traces(matrix, &traces[i], &counts[i]));
            self.matrices[i].dead = dead;
        }
    }

    /// Marks the columns of channels that go.
    fn mark_channels(&mut self, moments: Option<&[Moments]>, common: f64, own: &[Option<f64>], part: f64) {
        let known: Vec<Known<'_>> = (0..self.matrices.len())
            .map(|i| Known {
                matrix: &self.matrices[i],
                squares: self.squares.as_ref().map(|s| s[i].clone()),
                second: self.seconds(moments, i),
            })
            .collect();
        let Some(channels) = &self.channels else { return };
        self.watch.at("what channels cost", 0, 1);
        let own: Vec<Option<f64>> = own.iter().map(|o| o.map(|o| o * part)).collect();
        let gone = channels::choose(&channels.groups, &known, common, &own, self.options);
        let mut dead: Vec<Vec<bool>> = self.matrices.iter().map(|m| vec![false; m.weights.depth]).collect();
        for class in channels.groups.iter().flat_map(|g| &g.classes).filter(|c| gone.contains(&c.root)) {
            for (m, columns) in &class.columns {
                columns.iter().for_each(|k| dead[*m][*k] = true);
            }
        }
        for (matrix, dead) in self.matrices.iter_mut().zip(dead) {
            matrix.dead = vec![dead];
        }
        if let Some(channels) = &mut self.channels {
            channels.gone = gone;
        }
    }

    /// Finds weights for what is left.
    fn solve(&mut self, moments: Option<&[Moments]>) {
        let count = self.matrices.len();
        for i in 0..count {
            self.watch.at("weights", i, count);
            match self.seconds(moments, i).filter(|_| self.matrices[i].is_pruned()) {
                Some(seconds) => {
                    let (now, sums) = self.solved(i, &seconds);
                    let matrix = &mut self.matrices[i];
                    (matrix.now, matrix.sums) = (now, sums);
                }
                None => {
                    let matrix = &mut self.matrices[i];
                    matrix.now.clone_from(&matrix.original);
                    matrix.clear();
                }
            }
        }
    }

    /// The best weights of a layer, and what is added to its result.
    fn solved(&self, i: usize, seconds: &[Second]) -> (Vec<f64>, Vec<f64>) {
        let matrix = &self.matrices[i];
        let one = |b: usize| -> (Vec<f64>, Vec<f64>) {
            let second = &seconds[matrix.group(b)];
            let rows = matrix.grid.rows[b].clone();
            let originals: Vec<&[f64]> = rows.map(|r| matrix.row(&matrix.original, r)).collect();
            let targets: Vec<Vec<f64>> = originals.iter().map(|r| second.target(r)).collect();
            let dead = &matrix.dead[b];
            // As they were, where nothing is known better.
            let masked = |r: &&[f64]| -> Vec<f64> {
                r.iter().zip(dead).map(|(w, dead)| if *dead { 0.0 } else { *w }).collect()
            };
            let mut now: Vec<Vec<f64>> = originals.iter().map(masked).collect();
            if dead.contains(&true) || !second.is_at_rest() {
                solve::rows(second, dead, &targets, &mut now);
            }
            let sums = originals.iter().zip(&now).map(|(o, n)| second.shift(o, n)).collect();
            (now.concat(), sums)
        };
        let parts = parallel::each(matrix.grid.rows.len(), self.options.machine.threads, one);
        let (now, sums): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        (now.concat(), sums.concat())
    }

    /// Solves again on what the pruned model gives, and corrects means and deviations, where that makes the results better.
    fn repair(&mut self, evaluator: &Evaluator<'_>, samples: &dyn Samples) -> Result<()> {
        let mut best = evaluator.judge(&self.write()?, self.watch)?;
        for _ in 0..REPAIRS {
            let before = self.matrices.clone();
            let moments = self.observe(true)?;
            self.solve(moments.as_deref());
            let verdict = evaluator.judge(&self.write()?, self.watch)?;
            if !is_better(verdict, best) {
                self.matrices = before;
                break;
            }
            best = verdict;
        }
        for scaled in [false, true] {
            let mut other = self.matrices.clone();
            let machine = &self.options.machine;
            let document = statistics::correct(self.given, &mut other, scaled, samples, machine, self.watch)?;
            let verdict = evaluator.judge(&document, self.watch)?;
            if is_better(verdict, best) {
                (self.matrices, best) = (other, verdict);
            }
        }
        Ok(())
    }

    /// Gives each layer a part of its own, so that a run takes no longer than with the same part of all.
    fn by_time(&self, traces: &[Vec<Trace>], own: &mut [Option<f64>]) -> Result<()> {
        let Some(samples) = self.samples else { return Ok(()) };
        let mut levels = LEVELS.to_vec();
        levels.push(self.options.sparsity);
        levels.sort_by(f64::total_cmp);
        levels.dedup();
        if self.options.pattern.sparsity().is_some() {
            levels = vec![0.0, self.options.sparsity];
        }
        let names: Vec<&str> = self.matrices.iter().map(|m| &*m.layer.label).collect();
        let mut table: Vec<Vec<Level>> = vec![Vec::new(); self.matrices.len()];
        for (n, &share) in levels.iter().enumerate() {
            self.watch.at("times of layers", n, levels.len());
            let mut candidate = self.given.clone();
            let mut errors = Vec::new();
            for (matrix, traces) in self.matrices.iter().zip(traces) {
                let (counts, error) = masks::level(matrix, traces, share, self.options);
                let mut matrix = matrix.clone();
                matrix.dead = masks::of_traces(&matrix, traces, &counts);
                matrix.clear();
                matrix.write(&mut candidate)?;
                errors.push(error);
            }
            let (found, _) = times::measure(&candidate, &names, samples, &self.options.machine)?;
            for ((levels, error), name) in table.iter_mut().zip(errors).zip(&names) {
                levels.push(Level { ms: found.get(*name).copied().unwrap_or(0.0), error });
            }
        }
        let open: Vec<usize> = (0..own.len()).filter(|i| own[*i].is_none()).collect();
        let same = levels.iter().position(|l| *l == self.options.sparsity).unwrap_or(0);
        let most: f64 = open.iter().map(|i| table[*i][same].ms).sum();
        let choices: Vec<Vec<Level>> = open.iter().map(|i| table[*i].clone()).collect();
        for (i, level) in open.into_iter().zip(time::choose(&choices, most)) {
            own[i] = Some(levels[level]);
        }
        Ok(())
    }
}

/// Whether a model is better: right more often, or as often and nearer.
fn is_better(a: Verdict, b: Verdict) -> bool {
    match (a.accuracy, b.accuracy) {
        (Some(x), Some(y)) if x != y => x > y,
        _ => a.error < b.error,
    }
}
