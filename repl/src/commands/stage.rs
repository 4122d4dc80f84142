//! `:stage`: the text of a stage of compilation.

use kiln_compiler::internals::api::Loaded;
use kiln_compiler::internals::codegen::listing;
use kiln_compiler::internals::pipeline::{self, Compiled, Observer, PASSES};
use kiln_ir::graph::Graph;
use kiln_ir::kernel::Program;
use similar::{ChangeTag, TextDiff};

use super::command::{Args, Command, Word};
use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::session::Session;
use crate::text::parser;
use crate::{evaluate, expression};

pub(super) const COMMAND: Command = Command {
    name: "stage",
    usage: ":stage STAGE [NODE]",
    about: "the text of a stage: of a model, of a node, or of an expression",
    more: "Stages: import, infer, graph, kernel, plan, clif, asm; the name of a pass is what it leaves behind, with a minus\n\
           before it (-absorb) what it changed; ladder is all of them for a node, from ONNX to machine code. A model's name\n\
           in place of the node means all of it, and without one the model that was spoken of last.",
    example: ":stage kernel",
    words: &[Word::Stage, Word::Node],
    changes: false,
    run,
};

/// Names of stages, in order.
pub(crate) const STAGES: &[&str] = &["import", "infer", "graph", "kernel", "plan", "clif", "asm", "ladder"];

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let text = args.text();
    let (stage, what) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if stage.is_empty() {
        return Err(args.usage());
    }
    let (loaded, node) = subject(session, what.trim())?;
    let names = node.as_ref().map(|node| outputs_of(&loaded.graph, node)).transpose()?;
    let shown = |text: &str| match (&node, &names) {
        (Some(node), Some(names)) => part(text, node, names),
        _ => text.trim_end().to_owned(),
    };
    if stage == "ladder" {
        for stage in STAGES.iter().filter(|s| **s != "ladder") {
            let text = text_of(session, loaded.clone(), stage, node.as_deref())?;
            let text =
                if matches!(*stage, "clif" | "asm") { text.trim_end().to_owned() } else { shown(&text) };
            session.out.line(format_args!("---- {stage} ----\n{text}"));
        }
        return Ok(());
    }
    if let Some(pass) = stage.strip_prefix('-') {
        let mut texts =
            Texts { pass: pass_of(pass)?, before: String::new(), after: None, last: String::new() };
        pipeline::run(loaded.graph, &loaded.options, &mut texts).map_err(|e| ended(e.into()))?;
        let after = texts
            .after
            .ok_or_else(|| Fault::new(format!("the pass '{pass}' does not run with these settings")))?;
        let (before, after) = (shown(&texts.before), shown(&after));
        session.out.line(changes(&before, &after));
        return Ok(());
    }
    let text = text_of(session, loaded, stage, node.as_deref())?;
    session.out.line(if matches!(stage, "clif" | "asm") { text.trim_end().to_owned() } else { shown(&text) });
    Ok(())
}

/// A model that has been read, and a node of it if one is meant.
pub(super) fn subject(session: &mut Session, what: &str) -> Result<(Loaded, Option<String>)> {
    if what.is_empty() && !session.models.is_empty() {
        let (model, _) = session.within("")?;
        return Ok((bound(session, &model)?, None));
    }
    if session.models.contains_key(what) {
        return Ok((bound(session, what)?, None));
    }
    // A node, if there is one of that name; else an expression.
    let node = session.within(what).and_then(|(model, node)| {
        let loaded = bound(session, &model)?;
        outputs_of(&loaded.graph, &node)?;
        Ok((loaded, Some(node)))
    });
    let is_expr = what.contains(['(', '[', '+', '*']) || session.variables.contains_key(what);
    match node {
        Ok(found) => Ok(found),
        Err(fault) if !is_expr => Err(fault),
        Err(_) => {
            let expr = parser::parse_expr(what)?;
            let prepared = evaluate::prepare(session, &expr, 1)?;
            if prepared.built.ready.is_some() {
                return Err(Fault::new("nothing is computed here: the value is there already"));
            }
            let source = crate::models::Source::Graph(prepared.built.graph.into());
            Ok((session.engine.load(&source, &session.settings)?, None))
        }
    }
}

/// A model with the dimensions that are set; what has none takes that of the last call, or 1.
pub(super) fn bound(session: &mut Session, model: &str) -> Result<Loaded> {
    let last = session.model(model)?.last.clone();
    // What is to stay open is shown so: that is what calls run.
    if last.as_ref().is_none_or(|last| last.dims.is_empty()) {
        let loaded = session.load(model, None)?;
        if loaded.unbound().is_empty() {
            return Ok(loaded);
        }
    }
    let mut loaded = session.load(model, last.as_ref())?;
    for open in loaded.unbound() {
        session.out.line(format_args!("note: dimension '{open}' is not set: using 1; :set dim.{open} N"));
        loaded.bind(&open, 1);
    }
    Ok(loaded)
}

/// Names of the tensors that a node makes.
pub(super) fn outputs_of(graph: &Graph, node: &str) -> Result<Vec<String>> {
    let found = graph
        .node_ids()
        .map(|id| graph.node(id))
        .find(|n| n.name == node || n.outputs.iter().any(|o| graph.value(*o).name == node));
    if let Some(node) = found {
        let outputs = node.outputs.iter().map(|o| graph.value(*o).name.clone());
        return Ok([node.name.clone()].into_iter().chain(outputs).collect());
    }
    let names = graph.node_ids().map(|id| graph.node(id).name.as_str());
    let near = expression::suggest::hint(node, names);
    Err(Fault::new(format!("there is no node '{node}'")).hint(if near.is_empty() {
        ":nodes lists them".into()
    } else {
        near
    }))
}

fn ended(fault: Fault) -> Fault {
    if interrupt::asked() { Fault::interrupted() } else { fault }
}

fn pass_of(name: &str) -> Result<&'static str> {
    PASSES.iter().find(|p| **p == name).copied().ok_or_else(|| {
        let near = expression::suggest::hint(name, PASSES.iter().copied());
        let all = format!("there are {}", PASSES.join(", "));
        Fault::new(format!("there is no pass '{name}'")).hint(if near.is_empty() { all } else { near })
    })
}

fn text_of(session: &mut Session, loaded: Loaded, stage: &str, node: Option<&str>) -> Result<String> {
    let last = match stage {
        "graph" if loaded.options.opt < 2 => "decompose",
        "graph" => "rules",
        "kernel" => "layout",
        "plan" | "clif" | "asm" => "",
        other => pass_of(other).map_err(|f| {
            let near = expression::suggest::hint(other, STAGES.iter().copied());
            Fault::new(format!("there is no stage and no pass '{other}'")).hint(if near.is_empty() {
                format!("stages: {}; {}", STAGES.join(", "), f.hint)
            } else {
                near
            })
        })?,
    };
    if !last.is_empty() {
        let mut texts = Texts { pass: last, before: String::new(), after: None, last: String::new() };
        let compiled =
            pipeline::run(loaded.graph, &loaded.options, &mut texts).map_err(|e| ended(e.into()))?;
        return Ok(texts.after.unwrap_or_else(|| match compiled {
            Compiled::Graph(graph) => graph.summary().to_string(),
            Compiled::Program(program) => program.summary().to_string(),
            Compiled::Plan(plan) => plan.to_string(),
        }));
    }
    let names = node.map(|node| outputs_of(&loaded.graph, node)).transpose()?;
    let planned = session.engine.plan(loaded)?;
    if stage == "plan" {
        return Ok(planned.plan.to_string());
    }
    let listings = listing::kernels(&planned.plan, &planned.options.target)?;
    let mut out = String::new();
    for (i, (listing, kernel)) in listings.into_iter().zip(&planned.plan.kernels).enumerate() {
        if names.as_ref().is_some_and(|names| !kernel.nodes.iter().any(|n| names.contains(n))) {
            continue;
        }
        let text = match stage {
            "clif" => listing.clif.unwrap_or_else(|| "; encoded without Cranelift\n".to_owned()),
            _ => listing.asm,
        };
        out += &format!("; kernel {i} '{}'\n{text}\n", listing.kernel);
    }
    Ok(out)
}

/// Keeps the text before and after a pass, and ends there.
struct Texts {
    pass: &'static str,
    before: String,
    after: Option<String>,
    last: String,
}

impl Texts {
    fn see(&mut self, pass: &str, text: &dyn Fn() -> String) {
        // The texts of the others are not needed, but for the one right before.
        let index = |name: &str| PASSES.iter().position(|p| *p == name).unwrap_or(0);
        if pass == self.pass {
            self.before = std::mem::take(&mut self.last);
            self.after = Some(text());
        } else if index(pass) < index(self.pass) {
            self.last = text();
        }
    }
}

impl Observer for Texts {
    fn graph(&mut self, pass: &'static str, graph: &Graph) {
        self.see(pass, &|| graph.summary().to_string());
    }

    fn program(&mut self, pass: &'static str, program: &Program) {
        self.see(pass, &|| program.summary().to_string());
    }

    fn proceed(&mut self, pass: &'static str) -> bool {
        pass != self.pass && !interrupt::asked()
    }
}

/// The items of a text that speak of a node first: its own line in a graph, its kernels in a program.
fn part(text: &str, node: &str, names: &[String]) -> String {
    let mut items: Vec<Vec<&str>> = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let begins = indent == 2 && line.trim() != "}";
        match items.last_mut() {
            Some(item) if !begins && indent >= 2 => item.push(line),
            _ => items.push(vec![line]),
        }
    }
    let speaks = |line: &str| {
        let is_named = |n: &String| {
            let quoted = format!("\"{n}\"");
            let own = line.trim_start();
            line.contains(&quoted) || own.starts_with(&format!("%{n}:")) || own.starts_with(&format!("%{n} "))
        };
        line.starts_with("  ") && names.iter().any(is_named)
    };
    let found: Vec<String> =
        items.into_iter().filter(|item| speaks(item[0])).map(|item| item.join("\n")).collect();
    if found.is_empty() { format!("nothing is left of '{node}' by itself") } else { found.join("\n") }
}

/// Lines that went and lines that came.
fn changes(before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut out = Vec::new();
    for group in diff.grouped_ops(1) {
        if !out.is_empty() {
            out.push("...".to_owned());
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            out.push(format!("{sign} {}", change.value().trim_end()));
        }
    }
    if out.is_empty() { "the pass changed nothing here".to_owned() } else { out.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_its_item() {
        let text = "program @m {\n  input %x: f32[4]\n  map \"a\" of [\"a\", \"b\"] [i: 4] {\n    %y[i] = %x[i]\n  }\n  map \"c\" [i: 4] {\n    %z[i] = %y[i]\n  }\n}";
        assert_eq!(part(text, "b", &["b".into()]).lines().count(), 3);
        assert_eq!(part(text, "c", &["c".into()]), "  map \"c\" [i: 4] {\n    %z[i] = %y[i]\n  }");
        assert!(part(text, "d", &["d".into()]).contains("nothing is left"));
    }

    #[test]
    fn lines_that_went_and_came() {
        assert_eq!(changes("a\nb\nc\n", "a\nd\nc\n"), "  a\n- b\n+ d\n  c");
        assert!(changes("a", "a").contains("changed nothing"));
    }
}
