//! What may stand where the cursor is.

use kiln_compiler::internals::pipeline::PASSES;
use kiln_ir::DType;
use kiln_ir::ops;

use super::names::Names;
use crate::commands::{self, COMMANDS, STAGES, Word};
use crate::expression::{attributes, functions};

/// What may stand at the end of a line: where it begins, and the words; nothing in place of them means files.
pub(super) fn candidates(line: &str, names: &Names) -> (usize, Option<Vec<String>>) {
    let trimmed = line.trim_start();
    let Some(rest) = trimmed.strip_prefix(':') else { return expression(line, names) };
    let colon = line.len() - rest.len();
    let Some(blank) = rest.find(char::is_whitespace) else {
        return (colon, Some(begun(rest, COMMANDS.iter().map(|c| c.name.to_owned()))));
    };
    let Some(command) = commands::find(&rest[..blank]) else { return (line.len(), Some(Vec::new())) };
    let start = line.rfind([' ', ',']).map_or(0, |i| i + 1);
    let position = line[colon + blank..start].split([' ', ',']).filter(|w| !w.is_empty()).count();
    let Some(word) = command.words.get(position).or(command.words.last()) else {
        return (start, Some(Vec::new()));
    };
    let typed = &line[start..];
    let of = |list: Vec<String>| (start, Some(begun(typed, list)));
    let within = |map: &std::collections::BTreeMap<String, Vec<String>>| {
        // The names of one model by themselves, behind the model's where that is typed or there are several.
        let long = typed.contains('.') && names.models.keys().any(|m| typed.starts_with(&format!("{m}.")));
        let all = map.iter().flat_map(|(model, list)| {
            list.iter().map(move |n| if long { format!("{model}.{n}") } else { n.clone() })
        });
        all.chain(names.models.keys().cloned()).collect::<Vec<_>>()
    };
    match word {
        Word::File => (start, None),
        Word::Model => of(names.models.keys().cloned().collect()),
        Word::Node => of(within(&names.nodes)),
        Word::Tensor => of(within(&names.tensors)),
        Word::Stage => of(STAGES.iter().chain(&PASSES).map(|s| (*s).to_owned()).collect()),
        Word::Command => {
            let operators = ops::OPS.iter().map(|d| d.name);
            of(COMMANDS.iter().map(|c| c.name).chain(operators).map(str::to_owned).collect())
        }
        Word::One(list) => of(list.iter().map(|w| (*w).to_owned()).collect()),
        Word::Expr => {
            let (at, list) = expression(line, names);
            let nodes = begun(&line[at..], names.nodes.values().flatten().cloned());
            (at, list.map(|list| list.into_iter().chain(nodes).collect()))
        }
    }
}

fn expression(line: &str, names: &Names) -> (usize, Option<Vec<String>>) {
    let start = line.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1);
    // A character may be longer than a byte.
    let start = (start..=line.len()).find(|i| line.is_char_boundary(*i)).unwrap_or(line.len());
    let typed = &line[start..];
    let mut all: Vec<String> = Vec::new();
    if let Some(called) = call_around(&line[..start]) {
        if let Some(def) = ops::OPS.iter().find(|d| d.name == called) {
            all.extend(attributes::of(def).into_iter().map(|a| format!("{a}=")));
        }
        if let Some(function) = functions::find(called) {
            all.extend(function.params.iter().map(|p| format!("{p}=")));
        }
        all.extend(names.models.get(called).into_iter().flatten().map(|a| format!("{a}=")));
    }
    all.extend(names.variables.keys().chain(names.models.keys()).cloned());
    // Without a letter there is too much to say.
    if !typed.is_empty() {
        all.extend(functions::FUNCTIONS.iter().map(|f| format!("{}(", f.name)));
        all.extend(ops::OPS.iter().map(|d| format!("{}(", d.name)));
        all.extend(DType::ALL.iter().filter(|d| d.is_compiled()).map(|d| d.name().to_owned()));
    }
    (start, Some(begun(typed, all)))
}

/// The name of the call whose bracket is open at the end of a text.
pub(super) fn call_around(text: &str) -> Option<&str> {
    let mut depth = 0;
    for (i, c) in text.char_indices().rev() {
        match c {
            ')' | ']' => depth += 1,
            '(' | '[' if depth > 0 => depth -= 1,
            '(' => {
                let name = &text[..i];
                let start = name.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1);
                let start = (start..=name.len()).find(|i| name.is_char_boundary(*i))?;
                return Some(&name[start..]).filter(|n| !n.is_empty());
            }
            _ => {}
        }
    }
    None
}

/// Words that begin so, sorted, each once.
fn begun(typed: &str, words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = words.into_iter().filter(|w| w.starts_with(typed)).collect();
    out.sort();
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<String> {
        let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let names = Names {
            variables: [("x".to_owned(), "f32[2]".to_owned())].into(),
            models: [("net".to_owned(), list(&["image"]))].into(),
            nodes: [("net".to_owned(), list(&["/f/Conv", "/f/Relu"]))].into(),
            tensors: [("net".to_owned(), list(&["/f/Conv_out", "image"]))].into(),
        };
        let (_, found) = candidates(line, &names);
        found.unwrap_or_else(|| vec!["(files)".into()])
    }

    #[test]
    fn what_may_come_next() {
        for (line, expected) in [
            (":pro", &["probe", "profile"][..]),
            (":load mn", &["(files)"]),
            (":load a.onnx a", &["as"]),
            (":nodes n", &["net"]),
            (":explain /f/C", &["/f/Conv"]),
            (":explain net./f/R", &["net./f/Relu"]),
            (":stage ker", &["kernel"]),
            (":stage abs", &["absorb"]),
            (":set thr", &["threads"]),
            (":help Softm", &["Softmax", "SoftmaxCrossEntropyLoss"]),
            ("y = Softmax(x, ax", &["axis="]),
            ("y = net(im", &["image="]),
            ("Softmax(", &["axis=", "net", "x"]),
            ("y = LogSoft", &["LogSoftmax("]),
            ("random(x, se", &["seed="]),
            (":cut net image -> /f/C", &["/f/Conv_out"]),
        ] {
            assert_eq!(of(line), expected, "{line}");
        }
        assert_eq!(call_around("Relu(MatMul(x), "), Some("Relu"));
        assert_eq!(call_around("é("), Some("é"));
    }
}
