//! The project's own source text, for tests of what it may not hold.

use std::path::{Path, PathBuf};

use crate::repository;

/// A source file's code: without comments, without what is compiled for tests alone.
#[derive(Clone, Debug)]
pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    /// The code.
    pub code: String,
}

/// Sources of the crates in these folders.
pub fn of(folders: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    folders.iter().for_each(|folder| collect(&repository().join(folder).join("src"), &mut files));
    files.sort();
    assert!(!files.is_empty(), "no sources in {folders:?}");
    files.iter().filter_map(|path| read(path)).collect()
}

/// Whole files of these folders, tests and comments included: path and text.
pub fn texts(folders: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    folders.iter().for_each(|folder| collect(&repository().join(folder), &mut files));
    files.sort();
    let text =
        |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    files.iter().map(|path| (relative(path), text(path))).collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|e| e.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Files that `mod` lines put behind `#[cfg(test)]` are named `tests`, `testing`, `*_tests` or `*_testing`.
fn is_test(path: &str) -> bool {
    let stems = path.split('/').map(|part| part.trim_end_matches(".rs"));
    stems.into_iter().any(|s| ["tests", "testing"].iter().any(|t| s == *t || s.ends_with(&format!("_{t}"))))
}

fn read(path: &Path) -> Option<Source> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let path = relative(path);
    // Tests stand at the end of a file.
    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let code = text[..tests].lines().map(|l| l.split("//").next().unwrap_or_default());
    (!is_test(&path)).then(|| Source { code: code.collect::<Vec<_>>().join("\n"), path })
}

/// Where a word stands in sources: `path: line`.
pub fn find(sources: &[Source], word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let lines = source.code.lines().filter(|l| l.contains(word));
        found.extend(lines.map(|l| format!("{}: {}", source.path, l.trim())));
    }
    found
}
