//! `kiln list`: what this build knows.

use clap::ValueEnum;
use kiln_compiler::rules::RULES;
use kiln_ir::op::NEWEST_OPSET;
use kiln_ir::ops::OPS;
use serde_json::{Value, json};

use super::output::{Answer, Failure, Ui};

/// Arguments of `kiln list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to list.
    #[arg(value_enum)]
    what: What,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Operators, their opsets, and what of them is unsupported.
    Ops,
    /// Rewrites of the graph.
    Rules,
    /// Machines that code can be generated for.
    Targets,
    /// Ways of running a kernel.
    Kernels,
}

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    let (header, rows) = match args.what {
        What::Ops => ops(),
        What::Rules => rules(),
        What::Targets => targets(),
        What::Kernels => kernels(),
    };
    ui.text(table(&header, &rows));
    let objects: Vec<Value> = rows.iter().map(|row| object(&header, row)).collect();
    let key = args.what.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
    let mut json = json!({ key: objects });
    if matches!(args.what, What::Ops) {
        json["newest_opset"] = json!(NEWEST_OPSET);
    }
    Ok(Answer::yes(json))
}

type Rows = (Vec<&'static str>, Vec<Vec<String>>);

fn ops() -> Rows {
    let row = |op: &kiln_ir::OpDef| {
        let domain = if op.domain.is_empty() { "ai.onnx" } else { op.domain };
        let (from, to) = op.since;
        vec![
            op.name.to_owned(),
            domain.to_owned(),
            from.to_string(),
            to.to_string(),
            op.unsupported.to_owned(),
        ]
    };
    (vec!["name", "domain", "since_oldest", "since_newest", "unsupported"], OPS.iter().map(row).collect())
}

fn rules() -> Rows {
    let row = |r: &kiln_compiler::rules::Rule| vec![r.name.to_owned(), r.roots.join(" "), r.about.to_owned()];
    (vec!["name", "operators", "about"], RULES.iter().map(row).collect())
}

fn targets() -> Rows {
    let row = |architecture: &str, level: &kiln_targets::Level| {
        vec![
            architecture.to_owned(),
            level.name.to_owned(),
            level.features.join(" "),
            level.processors.join(" "),
        ]
    };
    let rows = kiln_targets::list().into_iter();
    let rows = rows.flat_map(|(name, levels)| levels.iter().map(move |level| row(name, level)));
    (vec!["architecture", "cpu", "features", "processors"], rows.collect())
}

/// The schedules of [`kiln_ir::kernel::plan::Schedule`].
const KERNELS: &[(&str, &str)] = &[
    ("scalar", "loops over single elements: any form, any type"),
    ("nest", "vectors of f32 along one loop, with rows of accumulators: maps, reductions, windows"),
    ("tile", "register tiles of rows by columns of f32: contractions"),
    ("transpose", "4 x 4 blocks of 4-byte elements turned in registers: rearrangements"),
];

fn kernels() -> Rows {
    let rows = KERNELS.iter().map(|(name, about)| vec![(*name).to_owned(), (*about).to_owned()]);
    (vec!["name", "about"], rows.collect())
}

fn object(header: &[&str], row: &[String]) -> Value {
    let value = |text: &String| text.parse::<i64>().map_or_else(|_| json!(text), |n| json!(n));
    header
        .iter()
        .zip(row)
        .map(|(key, text)| ((*key).to_owned(), value(text)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Columns as wide as their widest entry; the last one is as long as it likes.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|h| h.replace('_', " ")).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &&Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows =
            vec![vec!["Conv".to_owned(), "1".to_owned()], vec!["ReduceMean".to_owned(), String::new()]];
        assert_eq!(
            table(&["name", "since_oldest"], &rows),
            "name        since oldest\nConv        1\nReduceMean"
        );
        assert_eq!(object(&["a", "b"], &rows[0]), json!({"a": "Conv", "b": 1}));
    }
}
