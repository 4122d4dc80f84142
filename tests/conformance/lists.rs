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
    passes: BTreeSet<String>,
    fails: BTreeMap<String, String>,
}

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
            passes: lines("passes.txt").into_iter().collect(),
            fails: lines("fails.txt").into_iter().map(pair).collect(),
        }
    }

    /// A listed case that does not exist.
    pub(crate) fn stranger(&self, known: &[String]) -> Option<&String> {
        let known: BTreeSet<&String> = known.iter().collect();
        self.passes.iter().chain(self.fails.keys()).find(|id| !known.contains(id))
    }

    /// What speaks against the ways in which a case ended.
    pub(crate) fn objection(&self, id: &str, ends: &[(&str, End)]) -> Option<String> {
        if ends.is_empty() {
            return Some("was not run".to_owned());
        }
        ends.iter().find_map(|(level, end)| {
            let found = format!("{} at --opt {level}", end.status);
            match (end.status.as_str(), self.passes.contains(id), self.fails.contains_key(id)) {
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
    let passes = |ends: &[(&str, End)]| ends.iter().all(|(_, end)| end.status == "passed");
    let mut list =
        "# Official ONNX cases that pass at --opt 0 and 2; written by KILN_BLESS=1, see main.rs.\n"
            .to_owned();
    for (id, _) in all.iter().filter(|(_, ends)| passes(ends)) {
        let _ = writeln!(list, "{id}");
    }
    tools::write(&file("passes.txt"), list)?;
    tools::write(&file("summary.txt"), summary(&all))?;
    let lists = Lists::read();
    failed.extend(all.iter().filter_map(|(id, ends)| Some(format!("{id}: {}", lists.objection(id, ends)?))));
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Numbers, and the reasons of unsupported cases, the most frequent first.
fn summary(all: &Ends) -> String {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for ends in all.values() {
        let worst = ends.iter().find(|(_, end)| end.status != "passed").or(ends.first());
        let Some((_, end)) = worst else { continue };
        *counts.entry(&end.status).or_default() += 1;
        if end.status == "unsupported" {
            *reasons.entry(reason(&end.reason)).or_default() += 1;
        }
    }
    let mut out = "# What became of the official ONNX cases when passes.txt was written last.\n".to_owned();
    for (status, count) in &counts {
        let _ = writeln!(out, "{count:5} {status}");
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
