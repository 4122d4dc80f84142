//! `:help`: commands, operators, functions.

use kiln_ir::op::OpDef;
use kiln_ir::ops;
use kiln_tools::table::{self, Column};

use super::command::{Args, Command, Word};
use crate::expression::{attributes, functions, suggest};
use crate::fault::{Fault, Result};
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "help",
    usage: ":help [COMMAND or OPERATOR]",
    about: "all commands with an example each; one of them; an operator's attributes",
    more: ":help operators lists what can be called, :help expressions tells how they are written.",
    example: ":help diff",
    words: &[Word::Command],
    changes: false,
    run,
};

/// How expressions are written.
const EXPRESSIONS: &str = "\
y = Relu(MatMul(x, w) + b)        any ONNX operator is a function; + - * / % ** @ and comparisons
a, b = Split(x, axis=1)           attributes by name; several results
[[1.0, -2.0]]   3   true          literals take the element type of what they meet
x[0, -3:]   x[..., ::2]           slices as in Python; none is a new axis
f16(x)                            the name of an element type converts
random([1, 3], dtype=\"f32\", seed=1), zeros, ones, full, arange, eye
y = net(x); z = net(x, seq=64)    a model is a function; dimensions by name
net = <opset_import: [\"\": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }
                                  a model in ONNX's text form
x; y                              several statements in a line; # begins a comment
_                                 the last result without a name";

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let out = session.out.clone();
    let word = args.text().trim_start_matches(':');
    match word {
        "" => {
            out.line("Lines that begin with : are commands, others are expressions. An example for each:\n");
            let row = |c: &&Command| vec![c.example.to_owned(), c.about.to_owned()];
            let rows: Vec<Vec<String>> = args.commands.iter().map(row).collect();
            out.line(
                table::lines(&[Column::Text("command"), Column::Prose("does")], &rows, out.room()).join("\n"),
            );
            out.line("\nx = random([2, 3]); y = Relu(x) * 2; y[0, -2:]      computes and shows");
            out.line(":help expressions, :help operators, :help Conv, :help diff tell more; :tutorial shows the way;");
            out.line("Tab completes, Ctrl-R searches, Ctrl-C stops what is running, Ctrl-D leaves.");
        }
        "expressions" => out.line(EXPRESSIONS),
        "operators" => {
            let names: Vec<&str> = ops::OPS.iter().filter(|d| d.domain.is_empty()).map(|d| d.name).collect();
            let others: Vec<&str> =
                ops::OPS.iter().filter(|d| !d.domain.is_empty()).map(|d| d.name).collect();
            let own: Vec<&str> = functions::FUNCTIONS.iter().map(|f| f.name).collect();
            let width = out.room().width;
            let list = |title: &str, names: &[&str]| {
                out.line(format_args!("{title}:\n{}", table::wrap(&names.join(" "), width).join("\n")));
            };
            list("operators of ONNX", &names);
            list("of com.microsoft", &others);
            list("functions", &own);
        }
        name => {
            if let Some(command) = args.commands.iter().find(|c| c.name == name) {
                return tell(session, command);
            }
            if let Some(f) = functions::find(name) {
                out.line(format_args!("{}({}): {}", f.name, f.params.join(", "), f.about));
                return Ok(());
            }
            if let Some(def) = ops::OPS.iter().find(|d| d.name == name) {
                out.line(operator(def));
                return Ok(());
            }
            let names = args.commands.iter().map(|c| c.name).chain(ops::OPS.iter().map(|d| d.name));
            let near = suggest::hint(name, names);
            let hint = if near.is_empty() { ":help lists the commands".to_owned() } else { near };
            return Err(Fault::new(format!("there is no command and no operator '{name}'")).hint(hint));
        }
    }
    Ok(())
}

fn tell(session: &Session, command: &Command) -> Result<()> {
    let mut text = format!("{}\n  {}", command.usage, command.about);
    for line in command.more.lines() {
        text += &format!("\n  {}", line.trim());
    }
    text += &format!("\n  example: {}", command.example);
    session.out.line(text);
    Ok(())
}

fn operator(def: &OpDef) -> String {
    let attributes = attributes::of(def);
    let list = if attributes.is_empty() { "no attributes".to_owned() } else { attributes.join(", ") };
    let domain = if def.domain.is_empty() { String::new() } else { format!(" of {}", def.domain) };
    let (first, last) = def.since;
    let mut text = format!("{}{domain}: {list}; defined by opset {first}, last changed by {last}", def.name);
    if !def.unsupported.is_empty() {
        text += &format!("\nnot supported: {}", def.unsupported);
    }
    text
}
