//! Finding the cases, and running some of them in one call of the command.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use kiln_tests::{Outcome, text, tools};
use serde_json::Value;

use super::Ends;

const KILN: &str = env!("CARGO_BIN_EXE_kiln-under-test");

/// Folders of cases with inputs and outputs; `light` and `real` have models that must be downloaded.
const SUITES: [&str; 4] = ["node", "pytorch-converted", "pytorch-operator", "simple"];

/// Ways in which every case runs: as it is, and with inputs that are shapes, axes and the like as constants, at both levels
/// of optimisation; with all inputs as constants; and with extents of inputs that are open.
pub(crate) const WAYS: [(&str, &[&str]); 5] = [
    (AS_IS, &["--opt", "2"]),
    ("bound, --opt 0", &["--bind-inputs", "--opt", "0"]),
    ("bound, --opt 2", &["--bind-inputs", "--opt", "2"]),
    (FOLDED, &["--fold-inputs", "--opt", "2"]),
    (OPEN, &["--open-inputs", "--opt", "2"]),
];

/// The way without any constant.
pub(crate) const AS_IS: &str = "as it is";
/// The way without any input.
pub(crate) const FOLDED: &str = "folded";
/// The way in which only a run tells the extents of inputs.
pub(crate) const OPEN: &str = "open";

/// A folder with a model, inputs and expected outputs.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    suite: &'static str,
    name: String,
    folder: PathBuf,
}

impl Case {
    /// How lists call it: `node/test_abs`.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.suite, self.name)
    }

    /// The operator, roughly: the first word behind `test_`.
    fn group(&self) -> String {
        let name = self.name.strip_prefix("test_").unwrap_or(&self.name);
        format!("{}/{}", self.suite, name.split('_').next().unwrap_or(name))
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct End {
    /// `passed`, `failed` or `unsupported`.
    pub(crate) status: String,
    /// Why it did not pass.
    pub(crate) reason: String,
}

impl End {
    /// Whether it ended without results, not with wrong ones.
    pub(crate) fn is_refused(&self) -> bool {
        match self.status.as_str() {
            "unsupported" => true,
            "failed" => !self.reason.contains(": output '"),
            _ => false,
        }
    }
}

/// All cases, by operator.
pub(crate) fn groups(root: &Path) -> BTreeMap<String, Vec<Case>> {
    let mut groups: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for suite in SUITES {
        let entries = std::fs::read_dir(root.join(suite)).unwrap_or_else(|e| panic!("{suite}: {e}"));
        for folder in
            entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.join("model.onnx").is_file())
        {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let case = Case { suite, name, folder };
            groups.entry(case.group()).or_default().push(case);
        }
    }
    groups.values_mut().for_each(|cases| cases.sort_by(|a, b| a.name.cmp(&b.name)));
    groups
}

/// What names of cases of integers with scales have in them.
const QUANTISED: [&str; 3] = ["quantize", "qlinear", "integer"];

/// Those of integers with scales.
pub(crate) fn quantised<'c>(all: impl Iterator<Item = &'c Case>) -> Vec<Case> {
    all.filter(|c| QUANTISED.iter().any(|word| c.name.contains(word))).cloned().collect()
}

/// Runs cases of one suite in every way.
pub(crate) fn run(cases: &[Case]) -> Outcome<Ends> {
    run_in(cases, &WAYS)
}

/// Runs cases of one suite, with inputs that are shapes and the like as constants, for one level.
pub(crate) fn run_at(cases: &[Case], level: &'static str) -> Outcome<Ends> {
    run_in(cases, &[(level, &["--bind-inputs", "--cpu", level])])
}

fn run_in(cases: &[Case], ways: &[(&'static str, &[&str])]) -> Outcome<Ends> {
    let mut ends = Ends::new();
    for (way, flags) in ways {
        let mut arguments: Vec<&OsStr> =
            ["check", "--json", "--threads", "1"].iter().chain(*flags).map(OsStr::new).collect();
        arguments.extend(cases.iter().map(|c| c.folder.as_os_str()));
        let ended = tools::kiln(KILN, &arguments)?;
        let line = ended.stdout.lines().last().unwrap_or_default();
        let json: Value = serde_json::from_str(line)
            .map_err(|e| format!("exit code {}, no JSON ({e}): {}", ended.code, ended.stderr))?;
        let found = json["cases"].as_array().map(Vec::as_slice).unwrap_or_default();
        if found.len() != cases.len() {
            return Err(text(format!("{} cases instead of {}", found.len(), cases.len())));
        }
        for (case, found) in cases.iter().zip(found) {
            let field = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
            let end = End { status: field("status"), reason: field("reason") };
            ends.entry(case.id()).or_default().push((*way, end));
        }
    }
    Ok(ends)
}
