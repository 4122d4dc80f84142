//! Names that a model gives to its values: they become names of files, of C macros, and text on a terminal.

use super::Case;
use super::build::*;

/// Every case: a sound model with these inputs and outputs. It may be compiled or refused, but nothing may be
/// written outside the output folder.
pub(crate) fn cases() -> Vec<Case> {
    let case = |what: &str, inputs: &[&str], outputs: &[&str]| {
        let nodes = outputs.iter().zip(inputs.iter().cycle()).enumerate();
        let nodes = nodes.map(|(i, (to, from))| node(&format!("n{i}"), "Relu", &[from], &[to], vec![]));
        let nodes = nodes.collect();
        let inputs = inputs.iter().map(|name| value(name, F32, &[2])).collect();
        let outputs = outputs.iter().map(|name| untyped(name)).collect();
        Case::new(&format!("name/{what}"), bytes(&model(graph(inputs, vec![], nodes, outputs)))).survives()
    };
    let long = "n".repeat(100_000);
    vec![
        case(
            "output_leaves_the_folder",
            &["x"],
            &["../evil", "../../evil", "/tmp/kiln_evil", "..", "a/../../evil"],
        ),
        case("output_with_backslashes", &["x"], &["..\\evil", "C:\\evil"]),
        case("keywords_of_c", &["int", "while"], &["return", "static", "_Bool"]),
        case("one_identifier", &["a.b", "a-b", "a b", "A_B"], &["c.d", "c-d", "C D"]),
        case("no_letters", &["0", "1"], &["2", "-", "é", "数"]),
        case("ends_a_comment", &["*/ int x; /*"], &["\n#error \"\\", "??/", "//\\"]),
        case("terminal_escapes", &["\u{1b}[31mred"], &["\u{1b}]0;title\u{7}", "\r", "\u{202e}"]),
        case("long", &[&long], &[&format!("{long}y")]),
        case("empty", &[""], &["y"]),
    ]
}
