//! Text files that show what passes do, what small graphs compute and what is refused.
//!
//! A file starts with `; ` lines: what it shows, then its kind. A line `----` ends the input; what follows is
//! expected. `KILN_BLESS=1 cargo test --release -p kiln-tests --test filetests` writes what is found there.
//!
//! | kind | input | expected |
//! | --- | --- | --- |
//! | `; test: pass NAME` | a graph, or a program for passes on programs | the text after that pass; for `rules` also what fired and what nearly did |
//! | `; test: asm LEVEL` | a graph | the longest innermost loop of each kernel in machine code for that level |
//! | `; test: arena` | a graph | the arena of its plan, what lies in it and when |
//! | `; test: run` | a graph; `; input %x: f32[2] = [1.0, 2.0]` lines, else random inputs | the outputs, the same at six points |
//! | `; test: error` | a graph | the error |
//!
//! A graph given to a pass goes through all the passes before it.

mod asm;
mod case;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use case::Case;

fn main() -> ExitCode {
    let root = kiln_tests::repository().join("tests/filetests");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no filetests below {}", root.display());
    let trial = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap_or(&path).with_extension("");
        Trial::test(name.display().to_string(), move || check(&path))
    };
    libtest_mimic::run(&Arguments::from_args(), files.into_iter().map(trial).collect()).exit_code()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|e| e.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "txt") {
            files.push(path);
        }
    }
}

fn check(path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let case = Case::parse(&text)?;
    let found = run::run(&case)?;
    if found.trim_end() == case.expected.trim_end() {
        return Ok(());
    }
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(path, case.with_expected(&found))?;
        return Ok(());
    }
    Err(difference(case.expected, &found).into())
}

/// The lines from the first that differs.
fn difference(expected: &str, found: &str) -> String {
    let same = expected.lines().zip(found.lines()).take_while(|(a, b)| a == b).count();
    let rest = |text: &str, sign: &str| -> String {
        text.lines().skip(same).map(|l| format!("{sign} {l}\n")).collect()
    };
    format!(
        "differs from line {} on (KILN_BLESS=1 accepts it):\n{}{}",
        same + 1,
        rest(expected, "-"),
        rest(found, "+")
    )
}
