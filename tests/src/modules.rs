//! Which module of a crate uses which, read off the imports and paths in its sources.
//!
//! A module is a file. A parent that only declares and re-exports its children does not use them, and what is
//! imported through such a parent is used where it is defined.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources;

/// A module's place below the crate's root.
type Path = Vec<String>;

/// Modules by path, with the modules that each uses.
type Graph = BTreeMap<Path, BTreeSet<Path>>;

/// Groups of modules of the crate in `folder` that use each other in a circle, as sorted lists of `a::b`.
pub fn circles(folder: &str) -> Vec<Vec<String>> {
    let graph = uses(folder);
    let reach: BTreeMap<&Path, BTreeSet<&Path>> = graph.keys().map(|m| (m, reachable(&graph, m))).collect();
    let mut groups = BTreeSet::new();
    for (m, to) in &reach {
        let group: Vec<String> = to.iter().filter(|o| reach[*o].contains(m)).map(|o| o.join("::")).collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}

fn reachable<'g>(graph: &'g Graph, from: &Path) -> BTreeSet<&'g Path> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(next) = open.pop() {
        let new: Vec<&Path> = graph[next].iter().filter(|m| seen.insert(*m)).collect();
        open.extend(new);
    }
    seen
}

/// What a module's text says of others.
#[derive(Default)]
struct Module {
    /// Paths in the code.
    paths: Vec<Path>,
    /// Imports: the path, the name that it gets here, whether it is a re-export.
    imports: Vec<(Path, String, bool)>,
    /// Every identifier outside of imports.
    words: BTreeSet<String>,
}

fn uses(folder: &str) -> Graph {
    let root = format!("{folder}/src/");
    let mut modules = BTreeMap::new();
    for source in sources::of(&[folder]) {
        let name = source.path.strip_prefix(&root).unwrap_or(&source.path).trim_end_matches(".rs");
        let path: Path = name.split('/').map(str::to_owned).filter(|p| p != "mod" && p != "lib").collect();
        if name != "main" && !name.starts_with("bin/") {
            modules.insert(path, Module::read(&source.code));
        }
    }
    let mut graph = Graph::new();
    for (path, module) in &modules {
        let mut used = BTreeSet::new();
        for (import, name, public) in &module.imports {
            let Some(to) = absolute(&modules, path, import) else { continue };
            if !(*public && to.starts_with(path) && !module.words.contains(name)) {
                used.extend(definition(&modules, to));
            }
        }
        let paths = module.paths.iter().filter_map(|p| absolute(&modules, path, p));
        used.extend(paths.filter_map(|to| definition(&modules, to)));
        used.remove(path);
        graph.insert(path.clone(), used);
    }
    graph
}

/// A path from the crate's root on; `None` for what is not of this crate.
fn absolute(modules: &BTreeMap<Path, Module>, at: &Path, path: &[String]) -> Option<Path> {
    let ups = path.iter().take_while(|s| *s == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => Some([at.get(..at.len().checked_sub(ups)?)?, &path[ups..]].concat()),
        first => {
            let child = [&at[..], &path[..1]].concat();
            let own = if first == "self" { &path[1..] } else { path };
            (first == "self" || modules.contains_key(&child)).then(|| [at, own].concat())
        }
    }
}

/// The module that defines what a path names: imports on the way are followed.
fn definition(modules: &BTreeMap<Path, Module>, mut path: Path) -> Option<Path> {
    // A chain of re-exports is shorter than this.
    for _ in 0..8 {
        let depth = (0..=path.len()).rev().find(|n| modules.contains_key(&path[..*n]))?;
        let (module, rest) = path.split_at(depth);
        let imports = &modules[module].imports;
        let Some(import) = rest.first().and_then(|name| imports.iter().find(|i| i.1 == *name)) else {
            return Some(module.to_vec());
        };
        path = [absolute(modules, &module.to_vec(), &import.0)?, rest[1..].to_vec()].concat();
    }
    None
}

impl Module {
    fn read(code: &str) -> Self {
        let tokens = tokens(code);
        let mut this = Self::default();
        let mut i = 0;
        while i < tokens.len() {
            if tokens[i] == "use" {
                // `pub use` or `pub(..) use`.
                let public = i > 0 && (tokens[i - 1] == "pub" || tokens[i - 1] == ")");
                let end = tokens[i..].iter().position(|t| t == ";").map_or(tokens.len(), |n| i + n);
                this.import(&tokens[i + 1..end], &[], public);
                i = end;
            } else if is_word(&tokens[i]) {
                let mut path = vec![tokens[i].clone()];
                while i + 2 < tokens.len() && tokens[i + 1] == "::" && is_word(&tokens[i + 2]) {
                    i += 2;
                    path.push(tokens[i].clone());
                }
                this.words.extend(path.iter().cloned());
                if path.len() > 1 {
                    this.paths.push(path);
                }
            }
            i += 1;
        }
        this
    }

    /// A tree of imports below `prefix`.
    fn import(&mut self, tree: &[String], prefix: &[String], public: bool) {
        let own = tree.iter().take_while(|t| *t != "{" && *t != "as");
        let own: Path = own.filter(|t| *t != "::" && *t != "self").cloned().collect();
        let path = [prefix, &own].concat();
        if let Some(open) = tree.iter().position(|t| t == "{") {
            let inner = &tree[open + 1..tree.len() - 1];
            let mut depth = 0;
            let branches = inner.split(|t| {
                depth += i32::from(t == "{") - i32::from(t == "}");
                t == "," && depth == 0
            });
            branches.filter(|b| !b.is_empty()).for_each(|branch| self.import(branch, &path, public));
        } else if let Some(name) = tree.last() {
            let name = if name == "self" { path.last().unwrap_or(name) } else { name };
            self.imports.push((path.clone(), name.clone(), public));
        }
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Identifiers, `::` and single characters; strings and characters in quotes are left out.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let quoted = |quote: char| {
            let mut escaped = false;
            let end = rest.char_indices().skip(1).find(|(_, c)| {
                let end = *c == quote && !escaped;
                escaped = *c == '\\' && !escaped;
                end
            });
            end.map_or(rest.len(), |(i, _)| i + 1)
        };
        let len = match c {
            '"' => quoted('"'),
            // A character, not a lifetime.
            '\'' if rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'') => quoted('\''),
            _ if rest.starts_with("::") => 2,
            _ if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            _ => c.len_utf8(),
        };
        if !c.is_whitespace() && c != '"' && !(c == '\'' && len > 1) {
            tokens.push(rest[..len].to_owned());
        }
        rest = &rest[len..];
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_paths_are_read() {
        let code = "pub use a::{B, c::{self, D as E}}; fn f(x: &'static str) { g::h(\"use z;\", ';') }";
        let module = Module::read(code);
        let imports: Vec<String> = module
            .imports
            .iter()
            .map(|(path, name, public)| format!("{} {name} {public}", path.join("::")))
            .collect();
        assert_eq!(imports, ["a::B B true", "a::c c true", "a::c::D E true"]);
        assert_eq!(module.paths, [["g", "h"]]);
    }
}
