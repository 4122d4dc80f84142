//! The time of each node of a model: that of the kernels it is part of, shared by their nodes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kiln_onnx::Document;

use crate::machine::Machine;
use crate::run::{self, Result};
use crate::samples::Samples;

/// How long each model is measured.
const LENGTH: Duration = Duration::from_millis(500);
const LEAST_RUNS: usize = 3;

/// Milliseconds by name of a node, and of a whole run. A kernel counts for the first of its nodes among `names`, or else for
/// nobody.
pub fn measure(
    document: &Document,
    names: &[&str],
    samples: &dyn Samples,
    machine: &Machine,
) -> Result<(HashMap<String, f64>, f64)> {
    let planned = run::compiler(document, samples, machine)?.load()?.plan()?;
    // Kernels bear the names of the nodes that they are made of, or names made of those.
    let whose = |nodes: &[String]| -> Option<String> {
        let of = |node: &String| {
            let made = |name: &&&str| {
                node.strip_prefix(**name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            names.iter().filter(made).max_by_key(|n| n.len()).map(|n| (*n).to_owned())
        };
        nodes.iter().find_map(of)
    };
    let owners: Vec<Option<String>> = planned.plan.kernels.iter().map(|k| whose(&k.nodes)).collect();
    let model = planned.jit(1)?;
    let mut session = model.session()?;
    for (name, tensor) in &samples.sample(0)? {
        session.set_input(name.as_str(), tensor)?;
    }
    session.run()?;
    let mut best = vec![f64::INFINITY; owners.len()];
    let start = Instant::now();
    let mut runs = 0;
    while runs < LEAST_RUNS || start.elapsed() < LENGTH && runs < 1000 {
        for (i, best) in best.iter_mut().enumerate() {
            let begin = Instant::now();
            session.run_kernel(i);
            *best = begin.elapsed().as_secs_f64().min(*best);
        }
        runs += 1;
    }
    let mut times = HashMap::new();
    for (owner, seconds) in owners.into_iter().zip(&best) {
        if let Some(owner) = owner {
            *times.entry(owner).or_insert(0.0) += 1e3 * seconds;
        }
    }
    Ok((times, 1e3 * best.iter().sum::<f64>()))
}
