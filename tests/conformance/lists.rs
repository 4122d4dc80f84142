//! What is known of the cases: the lists beside this file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

use kiln_tests::{Outcome, repository, tools};

use super::Ends;
use super::cases::{self, Case, End};

/// Which cases pass, and which fail and why.
pub(crate) struct Lists {
    /// Whether they do as they are.
    passes: BTreeMap<String, bool>,
    fails: BTreeMap<String, String>,
    /// Of those that pass, the ones that are refused in a way of [`REFUSED`], and why.
    refused: BTreeMap<&'static str, BTreeMap<String, String>>,
}

/// The ways with a list of the cases that are refused in them.
const REFUSED: [(&str, &str); 2] = [(cases::FOLDED, "folded.txt"), (cases::OPEN, "open.txt")];

fn file(name: &str) -> PathBuf {
    repository().join("tests/conformance").join(name)
}

/// Lines that are no comments.
fn lines(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect()
}

impl Lists {
    /// Reads both files.
    pub(crate) fn read() -> Self {
        let pair = |line: String| {
            let (id, why) = line.split_once(": ").unwrap_or_else(|| panic!("'{line}' gives no reason"));
            (id.to_owned(), why.to_owned())
        };
        Self {
            passes: lines("passes.txt")
                .into_iter()
                .map(|line| match line.strip_suffix(BOUND) {
                    Some(id) => (id.to_owned(), false),
                    None => (line, true),
                })
                .collect(),
            fails: lines("fails.txt").into_iter().map(pair).collect(),
            refused: REFUSED
                .iter()
                .map(|(way, file)| (*way, lines(file).into_iter().map(pair).collect()))
                .collect(),
        }
    }

    /// A listed case that does not exist.
    pub(crate) fn stranger(&self, known: &[String]) -> Option<&String> {
        let known: BTreeSet<&String> = known.iter().collect();
        let refused = self.refused.values().flat_map(BTreeMap::keys);
        self.passes.keys().chain(self.fails.keys()).chain(refused).find(|id| !known.contains(id))
    }

    /// What speaks against the ways in which a case ended.
    pub(crate) fn objection(&self, id: &str, ends: &[(&str, End)]) -> Option<String> {
        if ends.is_empty() {
            return Some("was not run".to_owned());
        }
        ends.iter().find_map(|(way, end)| {
            let found = format!("{} {way}", end.status);
            if let Some(refused) = self.refused.get(way) {
                let listed = refused.contains_key(id);
                let known = self.passes.contains_key(id) && !listed;
                return match end.status.as_str() {
                    "passed" if listed => Some(format!("{found}, and is listed as refused: KILN_BLESS=1")),
                    "passed" => None,
                    _ if self.fails.contains_key(id) => None,
                    _ if end.is_refused() && !known => None,
                    _ => Some(format!("{found}: {}", end.reason)),
                };
            }
            let passes = self.passes.get(id).is_some_and(|as_is| *as_is || *way != cases::AS_IS);
            let fails = self.fails.contains_key(id);
            match (end.status.as_str(), passes, fails) {
                // What is made a constant may be what was missing.
                ("unsupported", _, true) if *way == cases::AS_IS => None,
                ("passed", true, false) | ("unsupported", false, false) => None,
                ("failed", false, true) => None,
                ("passed", false, _) => {
                    Some(format!("{found}, and is not in passes.txt: KILN_BLESS=1 writes it there"))
                }
                ("passed", true, true) => Some(format!("{found}, and is in fails.txt as well")),
                _ => Some(format!("{found}: {}", end.reason)),
            }
        })
    }
}

/// Runs everything and writes the lists; fails when there are wrong answers, after writing.
pub(crate) fn bless(groups: BTreeMap<String, Vec<Case>>) -> Outcome {
    let queue = Mutex::new(groups.into_values());
    let all = Mutex::new(Ends::new());
    let failed = Mutex::new(Vec::new());
    let next = || queue.lock().ok()?.next();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(cases) = next() {
                    match (cases::run(&cases), all.lock(), failed.lock()) {
                        (Ok(ends), Ok(mut all), _) => all.extend(ends),
                        (Err(e), _, Ok(mut failed)) => failed.push(e),
                        _ => {}
                    }
                }
            });
        }
    });
    let all = all.into_inner().map_err(kiln_tests::text)?;
    let mut failed = failed.into_inner().map_err(kiln_tests::text)?;
    let mut list = "# Official ONNX cases that pass; written by KILN_BLESS=1, see main.rs.\n".to_owned();
    for (id, ends) in &all {
        if bound(ends).all(|(_, end)| end.status == "passed") {
            let _ = writeln!(list, "{id}{}", if passed(ends, cases::AS_IS) { "" } else { BOUND });
        }
    }
    tools::write(&file("passes.txt"), list)?;
    for (way, name) in REFUSED {
        let mut list =
            format!("# Cases of passes.txt that are refused {way}, and why; written by KILN_BLESS=1.\n");
        for (id, ends) in all.iter().filter(|(_, ends)| bound(ends).all(|(_, end)| end.status == "passed")) {
            if let Some((_, end)) = ends.iter().find(|(of, end)| *of == way && end.is_refused()) {
                let _ = writeln!(list, "{id}: {}", reason(&end.reason));
            }
        }
        tools::write(&file(name), list)?;
    }
    tools::write(&file("summary.txt"), summary(&all))?;
    let lists = Lists::read();
    failed.extend(all.iter().filter_map(|(id, ends)| Some(format!("{id}: {}", lists.objection(id, ends)?))));
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// What follows cases that pass with bound inputs only.
const BOUND: &str = " bound";

/// The ways with bound inputs.
fn bound<'a>(ends: &'a [(&'static str, End)]) -> impl Iterator<Item = &'a (&'static str, End)> {
    ends.iter().filter(|(way, _)| way.starts_with("bound"))
}

/// Whether a case passed in a way.
fn passed(ends: &[(&'static str, End)], way: &str) -> bool {
    ends.iter().any(|(of, end)| *of == way && end.status == "passed")
}

/// Numbers, and the reasons of unsupported cases, the most frequent first.
fn summary(all: &Ends) -> String {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for ends in all.values() {
        let worst = bound(ends).find(|(_, end)| end.status != "passed").or(bound(ends).last());
        let Some((_, end)) = worst else { continue };
        *counts.entry(&end.status).or_default() += 1;
        for way in [cases::AS_IS, cases::FOLDED, cases::OPEN] {
            *others.entry(way).or_default() += usize::from(passed(ends, way));
        }
        if end.status == "unsupported" {
            *reasons.entry(reason(&end.reason)).or_default() += 1;
        }
    }
    let mut out = "# What became of the official ONNX cases when passes.txt was written last.\n".to_owned();
    for (status, count) in &counts {
        let _ = writeln!(out, "{count:5} {status}");
    }
    for (way, count) in others {
        let _ = writeln!(out, "{count:5} passed {way}");
    }
    let mut reasons: Vec<(String, usize)> = reasons.into_iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    out.push_str("\nUnsupported, by the first reason:\n");
    for (reason, count) in reasons {
        let _ = writeln!(out, "{count:5} {reason}");
    }
    out
}

/// The first error without its place and what to do, numbers and names left out.
fn reason(text: &str) -> String {
    let first = text.split("; ").next().unwrap_or(text);
    let message =
        if first.starts_with("node '") { first.split_once("): ").map_or(first, |(_, m)| m) } else { first };
    let mut out = String::new();
    let mut quoted = false;
    for c in message.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                out.push(if quoted { '_' } else { ' ' });
            }
            _ if quoted => {}
            c => out.push(c),
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}
