//! Kernels that have a choice, and each of them with every candidate.

use std::collections::HashMap;

use kiln_ir::format::packed::{Panels, Steps};
use kiln_ir::kernel::Form;
use kiln_ir::kernel::plan::{Plan, PlannedKernel, Schedule, Storage, Weight};
use kiln_ir::{DType, Tensor};
use kiln_targets::Target;

use crate::flatten::FlatKernel;
use crate::planner::{set_panel_strides, settle};
use crate::schedule::choices::{self, Choices, Pick};
use crate::schedule::{self, contract, nest, roles};

/// A distinct kernel with a choice.
pub(super) struct Subject {
    /// What the cache knows it by.
    pub(super) key: String,
    /// The first kernel of its kind in the plan.
    pub(super) kernel: usize,
    /// The first one is what the plan has.
    pub(super) picks: Vec<Pick>,
}

/// Every distinct kernel of a plan that has a choice.
pub(super) fn subjects(plan: &Plan, target: &Target) -> Vec<Subject> {
    let mut list: Vec<Subject> = Vec::new();
    for (i, kernel) in plan.kernels.iter().enumerate() {
        let flat = flat(kernel);
        let (packed, mut picks) = match &kernel.schedule {
            // How long that takes depends on the numbers.
            Schedule::Tile(tile) if tile.watched => continue,
            Schedule::Tile(tile) => {
                let picks = contract::candidates(&flat, target, tile.rhs_padded).unwrap_or_default();
                (tile.rhs_padded, picks.into_iter().map(Pick::Tile).collect::<Vec<_>>())
            }
            Schedule::Nest(nest) => {
                (false, nest::candidates(&flat, nest, target).into_iter().map(Pick::Nest).collect())
            }
            _ => continue,
        };
        let key = choices::key(&kernel.loops, &kernel.form, packed);
        if picks.len() < 2 || list.iter().any(|s| s.key == key) {
            continue;
        }
        picks.dedup();
        list.push(Subject { key, kernel: i, picks });
    }
    list
}

fn flat(kernel: &PlannedKernel) -> FlatKernel {
    let PlannedKernel { name, nodes, loops, form, bounds, .. } = kernel.clone();
    FlatKernel { name, nodes, loops, form, bounds }
}

/// Adds kernels to a plan that its run does not need.
pub(super) struct Candidates<'p> {
    plan: &'p mut Plan,
    target: &'p Target,
    /// Weights in panels of another width: of which storage, how wide, where.
    packed: HashMap<(usize, usize), usize>,
}

impl<'p> Candidates<'p> {
    pub(super) fn new(plan: &'p mut Plan, target: &'p Target) -> Self {
        Self { plan, target, packed: HashMap::new() }
    }

    /// Adds a subject's kernel as a pick has it; gives its position, or `None` when it cannot be run like that.
    pub(super) fn add(&mut self, subject: &Subject, pick: &Pick) -> Option<usize> {
        let kernel = self.plan.kernels[subject.kernel].clone();
        let mut flat = flat(&kernel);
        let choices = Choices::one(&subject.key, pick);
        let choice = match (pick, &kernel.schedule) {
            (Pick::Tile(pick), Schedule::Tile(tile)) => {
                let nr = pick.vectors as usize * contract::lanes(&flat, self.target) as usize;
                if tile.rhs_padded {
                    self.repack(&mut flat, tile.nr as usize, nr)?;
                }
                let packed = tile.rhs_padded.then_some((nr, Steps::Single));
                contract::choose(&flat, self.target, packed, &choices).ok()?
            }
            (Pick::Nest(_), Schedule::Nest(_)) => schedule::choose(&flat, self.target, &choices),
            _ => return None,
        };
        let position = self.plan.kernels.len();
        flat.name = format!("{} {position}", flat.name);
        self.plan.kernels.push(PlannedKernel { grain: None, ..settle(flat, choice, self.target) });
        Some(position)
    }

    /// Makes rhs panels of `to` columns instead of `from`.
    fn repack(&mut self, flat: &mut FlatKernel, from: usize, to: usize) -> Option<()> {
        if from == to {
            return Some(());
        }
        let roles = roles::roles(flat, true).ok()?;
        let extent = |l: &kiln_ir::kernel::LoopId| flat.loops[l.0 as usize].extent.as_usize();
        let sizes = |list: &[kiln_ir::kernel::LoopId]| {
            list.iter().map(|l| Some((extent(l)?, 0))).collect::<Option<Vec<_>>>()
        };
        let mut panels = Panels {
            offset: 0,
            batch: sizes(&roles.batch)?,
            depth: sizes(&roles.depth)?,
            cols: (extent(&roles.col)?, 0),
            nr: from,
            steps: Steps::Single,
        };
        let Form::Contract { rhs, .. } = &flat.form else { return None };
        let Storage::Weights { offset_bytes } = rhs.storage else { return None };
        let offset = match self.packed.get(&(offset_bytes, to)) {
            Some(offset) => *offset,
            None => {
                let weight = self.plan.weights.iter().find(|w| w.offset_bytes == offset_bytes)?;
                let source = weight.tensor.as_slice::<f32>().ok()?;
                if source.len() != panels.len() {
                    return None;
                }
                let batches = panels.batch.iter().map(|b| b.0).product();
                let data = widen(&source, batches, panels.depth_extent(), panels.cols.0, from, to);
                let offset = self.plan.weights_bytes.next_multiple_of(self.target.align);
                self.plan.weights_bytes = offset + data.len() * DType::F32.size();
                let (name, len) = (format!("{}.{to}", weight.name), data.len());
                let tensor = Tensor::from_vec(&[len], data);
                self.plan.weights.push(Weight { name, offset_bytes: offset, tensor });
                self.packed.insert((offset_bytes, to), offset);
                offset
            }
        };
        panels.nr = to;
        set_panel_strides(flat, &roles, &panels);
        if let Form::Contract { rhs, .. } = &mut flat.form {
            rhs.storage = Storage::Weights { offset_bytes: offset };
        }
        Some(())
    }
}

/// Panels of another width with the same columns.
fn widen(source: &[f32], batches: usize, depth: usize, cols: usize, from: usize, to: usize) -> Vec<f32> {
    let (panels_from, panels_to) = (cols.div_ceil(from), cols.div_ceil(to));
    let mut out = vec![0.0; batches * panels_to * depth * to];
    for batch in 0..batches {
        for d in 0..depth {
            for c in 0..cols {
                let at = ((batch * panels_to + c / to) * depth + d) * to + c % to;
                out[at] = source[((batch * panels_from + c / from) * depth + d) * from + c % from];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::jit::{Model, check_host};
    use crate::passes::testing::conv_bias_relu;
    use crate::passes::{absorb, layout};
    use crate::pipeline::{self, Options};
    use crate::schedule::choices::TilePick;

    #[test]
    fn panels_keep_their_columns() {
        let cols = (10, 1);
        let panels = |nr| Panels {
            offset: 0,
            batch: vec![(2, 30)],
            depth: vec![(3, 10)],
            cols,
            nr,
            steps: Steps::Single,
        };
        let source: Vec<f32> = (0..60u16).map(f32::from).collect();
        let (narrow, wide) = (panels(4).encode(&source).unwrap(), panels(8).encode(&source).unwrap());
        assert_eq!(widen(&narrow, 2, 3, 10, 4, 8), wide);
        assert_eq!(widen(&wide, 2, 3, 10, 8, 4), narrow);
    }

    /// Plans for every level that this machine has.
    fn plans(graph: &str) -> Vec<(&'static str, Plan, Target)> {
        let mut list = Vec::new();
        for level in ["baseline", "avx", "avx2", "native"] {
            let Ok(target) = kiln_targets::resolve("host", level, "") else { continue };
            if check_host(&target).is_err() {
                continue;
            }
            let options = Options::new(target);
            let plan = pipeline::compile(kiln_ir::graph::parse(graph).unwrap(), &options).unwrap();
            list.push((level, plan, options.target));
        }
        list
    }

    /// Runs the plan once with its own kernels and once with every other candidate; gives how many there were.
    fn compare(level: &str, mut plan: Plan, target: &Target) -> usize {
        let base = plan.kernels.len();
        let subjects = subjects(&plan, target);
        let mut list = Vec::new();
        let mut candidates = Candidates::new(&mut plan, target);
        for subject in &subjects {
            for pick in &subject.picks[1..] {
                let position = candidates.add(subject, pick).expect("a kernel");
                list.push((subject.kernel, position, pick.clone()));
            }
        }
        for (kernel, position, pick) in &list {
            assert_ne!(plan.kernels[*position].schedule, plan.kernels[*kernel].schedule, "{level} {pick:?}");
        }
        let model = Model::new(plan, target, 1).unwrap();
        let inputs = super::super::trial::inputs(model.inputs()).unwrap();
        let outputs = |instead: Option<(usize, usize)>| {
            let mut session = model.session_with(&inputs).unwrap();
            for i in 0..base {
                session.run_kernel(instead.filter(|x| x.0 == i).map_or(i, |x| x.1));
            }
            session.outputs().unwrap()[0].as_slice::<f32>().unwrap().to_vec()
        };
        let expected = outputs(None);
        assert!(expected.iter().any(|x| *x != 0.0));
        for (kernel, position, pick) in &list {
            for (a, b) in outputs(Some((*kernel, *position))).iter().zip(&expected) {
                assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{level} {pick:?}: {a} {b}");
            }
        }
        list.len()
    }

    #[test]
    fn every_tile_of_a_convolution_computes_the_same() {
        for level in ["baseline", "avx", "avx2", "native"] {
            let Ok(target) = kiln_targets::resolve("host", level, "") else { continue };
            if check_host(&target).is_err() {
                continue;
            }
            let mut p = conv_bias_relu(19, 40);
            absorb::run(&mut p);
            layout::run(&mut p).unwrap();
            let plan = crate::planner::build(p, &target).unwrap();
            assert!(compare(level, plan, &target) > 2, "{level}");
        }
    }

    #[test]
    fn every_window_computes_the_same() {
        let graph = r#"graph @m opset(17) {
  input %x: f32[1, 70, 13, 11]
  const @w: f32[70, 1, 3, 5] = splat 0.25
  %c = Conv(%x, @w) {group = 70, pads = [1, 2, 1, 2]}
  %p = MaxPool(%c) {kernel_shape = [3, 3], strides = [2, 2]}
  output %p
}"#;
        for (level, plan, target) in plans(graph) {
            assert!(compare(level, plan, &target) > 5, "{level}");
        }
    }

    #[test]
    fn every_candidate_of_products_and_softmax_computes_the_same() {
        let graph = r#"graph @m opset(17) {
  input %x: f32[3, 21, 40]
  input %y: f32[3, 40, 100]
  %p = MatMul(%x, %y)
  %s = Softmax(%p) {axis = -1}
  output %s
}"#;
        for (level, plan, target) in plans(graph) {
            assert!(compare(level, plan, &target) > 5, "{level}");
        }
    }

    #[test]
    fn the_first_candidate_is_the_plan_and_others_are_what_is_asked_for() {
        for (level, plan, target) in plans(
            r#"graph @m opset(17) {
  input %x: f32[50, 64]
  const @w: f32[64, 96] = splat 0.5
  %y = MatMul(%x, @w)
  output %y
}"#,
        ) {
            let subjects = subjects(&plan, &target);
            let subject = subjects.iter().find(|s| matches!(s.picks[0], Pick::Tile(_))).unwrap();
            let flat = flat(&plan.kernels[subject.kernel]);
            let pick = |choices: &Choices| {
                Pick::Tile(contract::pick(&flat, &target, Some(Steps::Single), choices).unwrap())
            };
            assert_eq!(pick(&Choices::default()), subject.picks[0], "{level}");
            for asked in &subject.picks {
                assert_eq!(pick(&Choices::one(&subject.key, asked)), *asked, "{level}");
            }
            // What no kernel can have is as good as nothing.
            let Pick::Tile(best) = subject.picks[0] else { panic!("a tile") };
            for bad in [
                TilePick { mr: 0, ..best },
                TilePick { vectors: 1000, ..best },
                TilePick { unroll: 1 << 20, ..best },
                TilePick { row: Some(9), ..best },
            ] {
                assert_eq!(
                    pick(&Choices::one(&subject.key, &Pick::Tile(bad))),
                    subject.picks[0],
                    "{level} {bad:?}"
                );
            }
        }
    }
}
