//! Which layers stay float, so that a target is met with as few as possible.

use std::collections::BTreeSet;

use kiln_calibrate::{Evaluator, Result, Verdict, Watch};

use crate::options::Target;
use crate::plan::Plan;

/// Layers that stay float, and what each costs.
pub(crate) struct Kept {
    pub(crate) float: BTreeSet<usize>,
    /// By layer: the error of the results where it alone is quantised.
    pub(crate) sensitivity: Vec<f64>,
}

/// Whether a model is good enough.
pub(crate) fn meets(verdict: Verdict, before: Option<f64>, target: Target) -> bool {
    match target {
        Target::Error(most) => verdict.error <= most,
        Target::Drop(most) => match (before, verdict.accuracy) {
            // Shares are of so many samples: what is lost is told by whole ones.
            (Some(before), Some(after)) => 100.0 * (before - after) <= most + 1e-9,
            _ => false,
        },
    }
}

/// Measures each layer by itself, and leaves the most sensitive ones float until the target is met.
pub(crate) fn search(
    plan: &Plan<'_>,
    evaluator: &Evaluator<'_>,
    target: Target,
    watch: &dyn Watch,
) -> Result<Kept> {
    let count = plan.layers.len();
    let mut sensitivity = Vec::with_capacity(count);
    for i in 0..count {
        watch.at("sensitivity", i, count);
        let others = (0..count).filter(|j| *j != i).collect();
        sensitivity.push(evaluator.judge(&plan.write(&others)?, &())?.error);
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| sensitivity[*b].total_cmp(&sensitivity[*a]).then(a.cmp(b)));
    let first = |n: usize| -> BTreeSet<usize> { order[..n].iter().copied().collect() };
    let good = |n: usize| -> Result<bool> {
        watch.at("layers that stay float", n, count);
        let verdict = evaluator.judge(&plan.write(&first(n))?, &())?;
        Ok(meets(verdict, evaluator.float_accuracy, target))
    };
    if good(0)? {
        return Ok(Kept { float: first(0), sensitivity });
    }
    // More float layers are taken to be better; with all of them the model is the float one.
    let (mut bad, mut enough) = (0, count);
    while enough - bad > 1 {
        let middle = (bad + enough) / 2;
        if good(middle)? { enough = middle } else { bad = middle }
    }
    Ok(Kept { float: first(enough), sensitivity })
}
