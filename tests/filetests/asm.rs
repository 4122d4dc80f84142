//! The loops in which kernels spend their time, in machine code.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kiln_compiler::internals::codegen::listing;
use kiln_compiler::internals::pipeline::{self, Options};
use kiln_ir::graph;
use kiln_ir::kernel::Form;
use kiln_tests::{Outcome, text};

/// `level` may be a processor.
///
/// The longest innermost loop of every kernel of a graph, each below its schedule and a count of its instructions.
/// Only kernels that multiply are shown: halos and copies are not what a case is about.
pub(crate) fn inner_loops(source: &str, level: &str) -> Outcome<String> {
    let mut levels = kiln_targets::list().into_iter();
    let (arch, _) = levels
        .find(|(_, levels)| levels.iter().any(|l| l.name == level || l.processors.contains(&level)))
        .ok_or("no such level")?;
    let target = kiln_targets::resolve(&format!("{arch}-unknown-linux-gnu"), level, "").map_err(text)?;
    let options = Options::new(target);
    let plan = pipeline::compile(graph::parse(source).map_err(text)?, &options).map_err(text)?;
    let listings = listing::kernels(&plan, &options.target).map_err(text)?;
    let mut out = String::new();
    for (kernel, listing) in plan.kernels.iter().zip(listings) {
        if !matches!(kernel.form, Form::Contract { .. } | Form::Window { .. } | Form::Transform { .. }) {
            continue;
        }
        let lines = longest(&listing.asm);
        let _ = writeln!(out, "; {}: {}\n; {}", kernel.name, kernel.why, counts(&lines));
        lines.iter().for_each(|line| _ = writeln!(out, "{line}"));
    }
    Ok(out)
}

/// The name of a label, for lines that are one: `L1:` of the decoder, `block1:` of Cranelift, whose branches say
/// `label1`.
fn label(line: &str) -> Option<String> {
    let name = line.strip_suffix(':').filter(|name| !name.starts_with(' '))?;
    Some(name.strip_prefix("block").map_or_else(|| name.to_owned(), |n| format!("label{n}")))
}

/// From a label to a branch back to it, without another such pair inside.
fn longest(asm: &str) -> Vec<&str> {
    let lines: Vec<&str> = asm.lines().collect();
    let mut labels = BTreeMap::new();
    let (mut best, mut innermost_from) = (0..0, 0);
    for (i, line) in lines.iter().enumerate() {
        if let Some(name) = label(line) {
            labels.insert(name, i);
            continue;
        }
        let words = line.split([' ', ';', ',']).filter_map(|word| labels.get(word));
        let Some(&from) = words.max() else { continue };
        if from >= innermost_from && i + 1 - from > best.len() {
            best = from..i + 1;
        }
        innermost_from = i + 1;
    }
    lines[best].to_vec()
}

/// How often each instruction occurs, the most frequent first.
fn counts(lines: &[&str]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines.iter().filter(|l| label(l).is_none()) {
        *counts.entry(line.split_whitespace().next().unwrap_or_default()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
    let counts: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    if counts.is_empty() { "no loop".to_owned() } else { counts.join(", ") }
}
