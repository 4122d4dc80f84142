//! The official ONNX test cases, which the Python package `onnx` ships, through `kiln check`: as they are, with
//! `--bind-inputs` at `--opt 0` and `2`, with all inputs folded as constants, and with their extents open. Those of integers with
//! scales run at every level of this machine too.
//!
//! `KILN_ONNX_CASES` names their folder, `onnx/backend/test/data`; without it there is nothing to run, which is a
//! failure on CI. What passes is listed in `passes.txt`, followed by `bound` where it does so with bound inputs only: a case
//! that no longer does is a failure, one that does and is not listed as well. Every other case must be refused as unsupported, but for those in `fails.txt`, which has a
//! reason for each. `folded.txt` and `open.txt` list those that pass but are refused in these ways.
//!
//! ```sh
//! KILN_BLESS=1 KILN_ONNX_CASES=... cargo test --release -p kiln-tests --test conformance
//! ```
//!
//! writes all but `fails.txt`, and `summary.txt` with the number of unsupported cases by reason.

mod cases;
mod lists;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use kiln_tests::{stages, tools};
use libtest_mimic::{Arguments, Failed, Trial};

use cases::{Case, End};
use lists::Lists;

/// Where the cases are.
const FOLDER: &str = "KILN_ONNX_CASES";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let Some(root) = std::env::var_os(FOLDER) else {
        let trial = Trial::test("official_cases", || Err(format!("{FOLDER} is not set").into()));
        return libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(!tools::on_ci())]).exit_code();
    };
    let groups = cases::groups(Path::new(&root));
    if std::env::var_os("KILN_BLESS").is_some() {
        return match lists::bless(groups) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("{e}");
                ExitCode::FAILURE
            }
        };
    }
    let lists = Arc::new(Lists::read());
    let mut trials: Vec<Trial> = Vec::new();
    let known: Vec<String> = groups.values().flatten().map(Case::id).collect();
    for level in stages::levels() {
        let (cases, lists) = (cases::quantised(groups.values().flatten()), lists.clone());
        trials.push(Trial::test(format!("quantised::{level}"), move || check_at(&cases, level, &lists)));
    }
    for (name, cases) in groups {
        let lists = lists.clone();
        trials.push(Trial::test(name, move || check(&cases, &lists)));
    }
    trials.push(Trial::test("lists_name_cases_that_exist", move || match lists.stranger(&known) {
        Some(id) => Err(format!("'{id}' is listed, and there is no such case").into()),
        None => Ok(()),
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Cases of one operator.
fn check(cases: &[Case], lists: &Lists) -> Result<(), Failed> {
    without_objection(cases, cases::run(cases)?, lists)
}

/// Cases at a level.
fn check_at(cases: &[Case], level: &'static str, lists: &Lists) -> Result<(), Failed> {
    if cases.is_empty() {
        return Err("no case of integers with scales".into());
    }
    without_objection(cases, cases::run_at(cases, level)?, lists)
}

fn without_objection(cases: &[Case], ends: Ends, lists: &Lists) -> Result<(), Failed> {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let id = case.id();
            let why = lists.objection(&id, ends.get(&id).map(Vec::as_slice).unwrap_or_default());
            why.map(|why| format!("{id}: {why}"))
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// How each case ended, in each way.
type Ends = BTreeMap<String, Vec<(&'static str, End)>>;
