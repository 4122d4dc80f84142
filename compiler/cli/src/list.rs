//! `kiln list`: what this build knows.

use std::fmt::Write as _;

use clap::ValueEnum;
use kiln_compiler::internals::rules::RULES;
use kiln_ir::DType;
use kiln_ir::op::NEWEST_OPSET;
use kiln_ir::ops::OPS;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Answer, Ui};
use kiln_tools::table::{self, Column, Room};

/// Arguments of `kiln list`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::LIST)]
pub(super) struct Args {
    /// What to list.
    #[arg(value_enum)]
    what: What,
    /// Write the page of the documentation, in Markdown: operators only.
    #[arg(long)]
    markdown: bool,
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
    if args.markdown {
        if !matches!(args.what, What::Ops) {
            return Err(Failure::usage("--markdown is for operators: kiln list ops --markdown".to_owned()));
        }
        ui.text(page().trim_end());
        return Ok(Answer::yes(json!({ "markdown": page() })));
    }
    let listed = match args.what {
        What::Ops => ops(),
        What::Rules => rules(),
        What::Targets => targets(),
        What::Kernels => kernels(),
    };
    ui.text(table::lines(listed.columns, &listed.rows, Room::of_stdout()).join("\n"));
    let objects: Vec<Value> = listed.rows.iter().map(|row| object(listed.keys, row)).collect();
    let key = args.what.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
    let mut json = json!({ key: objects });
    if matches!(args.what, What::Ops) {
        json["newest_opset"] = json!(NEWEST_OPSET);
    }
    Ok(Answer::yes(json))
}

/// Names of fields, how each stands in the table, and the rows.
struct Listed {
    keys: &'static [&'static str],
    columns: &'static [Column],
    rows: Vec<Vec<String>>,
}

fn ops() -> Listed {
    let row = |op: &kiln_ir::OpDef| {
        let domain = if op.domain.is_empty() { "ai.onnx" } else { op.domain };
        let (from, to) = op.since;
        vec![
            op.name.to_owned(),
            domain.to_owned(),
            from.to_string(),
            to.to_string(),
            op.unsupported.to_owned(),
            types(op),
        ]
    };
    Listed {
        keys: &["name", "domain", "since_oldest", "since_newest", "unsupported", "types"],
        columns: &[
            Column::Text("name"),
            Column::Prose("domain"),
            Column::Number("from"),
            Column::Number("to"),
            Column::Prose("unsupported"),
            // No room for types: they are in JSON and on the page.
        ],
        rows: OPS.iter().map(row).collect(),
    }
}

/// Element types, whole kinds of them by one word.
fn types(op: &kiln_ir::OpDef) -> String {
    use DType::{
        BF16, F4E2M1, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, F16, F32, F64, I4, I8, I16, I32, I64,
        U4, U8, U16, U32, U64,
    };
    let kinds: [(&str, &[DType]); 4] = [
        ("floats", &[F16, BF16, F32, F64]),
        ("integers", &[I8, I16, I32, I64, U8, U16, U32, U64]),
        ("4 bits", &[I4, U4, F4E2M1]),
        ("float8", &[F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0]),
    ];
    let mut left = kiln_ir::ops::types(op);
    let mut words = Vec::new();
    for (word, kind) in kinds {
        if kind.iter().all(|t| left.contains(t)) {
            words.push(word);
            left.retain(|t| !kind.contains(t));
        }
    }
    words.extend(left.iter().map(|t| t.name()));
    words.join(" ")
}

/// `docs/operators.md`.
fn page() -> String {
    let mut out = format!(
        "# Operators

`kiln list ops --markdown` writes this page, and a test fails where they differ. Versions are those in which an operator
changed: models of opset 1 to {NEWEST_OPSET} are read, and each operator has the meaning of its last version up to the model's.

Types are those of the data. *floats* are f16, bf16, f32 and f64; *integers* have 8 to 64 bits, with and without a sign;
*4 bits* are i4, u4 and f4e2m1; *float8* are f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz and f8e8m0. Those of 4 bits have a byte
each in buffers, i4 with its sign extended, and of all small types kernels move elements and convert them. An operator without
types is folded, or made of others and takes what they take. c64 is moved only.

Strings, maps and sparse tensors are refused (exit code 4), and so are sequences that are there when the model runs.
"
    );
    let mut domain = None;
    for op in OPS {
        if domain.replace(op.domain) != Some(op.domain) {
            let name = if op.domain.is_empty() { "ai.onnx" } else { op.domain };
            let _ = write!(
                out,
                "\n## {name}\n\n| operator | versions | types | not supported |\n| --- | --- | --- | --- |\n"
            );
        }
        let versions = match op.since {
            (from, to) if from == to => from.to_string(),
            (from, to) => format!("{from} to {to}"),
        };
        let _ = writeln!(out, "| {} | {versions} | {} | {} |", op.name, types(op), op.unsupported);
    }
    out
}

fn rules() -> Listed {
    let row = |r: &kiln_compiler::internals::rules::Rule| {
        vec![r.name.to_owned(), r.roots.join(" "), r.about.to_owned()]
    };
    Listed {
        keys: &["name", "operators", "about"],
        columns: &[Column::Text("name"), Column::Prose("operators"), Column::Prose("about")],
        rows: RULES.iter().map(row).collect(),
    }
}

fn targets() -> Listed {
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
    Listed {
        keys: &["architecture", "cpu", "features", "processors"],
        columns: &[
            Column::Text("architecture"),
            Column::Text("cpu"),
            Column::Prose("features"),
            Column::Prose("processors"),
        ],
        rows: rows.collect(),
    }
}

/// Every kind of schedule.
const KERNELS: &[(&str, &str)] = &[
    ("scalar", "plain loops over single elements: any form, any type"),
    ("nest", "vectors of f32 along one loop, with rows of accumulators: maps, reductions, windows"),
    ("tile", "register tiles of rows by columns: contractions"),
    ("dots", "tiles of dot products with the depth in lanes: contractions with few columns"),
    ("stream", "a few rows of a matrix from memory at a time: a row times a matrix that is not constant"),
    ("digits", "panels of weights of 4 bits times numbers in digits of 8: a row times packed weights"),
    ("transpose", "square blocks of elements turned in registers: rearrangements"),
    ("transform", "small matrices on both sides of whole tiles of f32: convolutions by minimal filtering"),
    (
        "sparse",
        "blocks of weights that are not zero times vectors of pixels: contractions whose weights are mostly zeros",
    ),
];

fn kernels() -> Listed {
    let rows = KERNELS.iter().map(|(name, about)| vec![(*name).to_owned(), (*about).to_owned()]);
    Listed {
        keys: &["name", "about"],
        columns: &[Column::Text("name"), Column::Prose("about")],
        rows: rows.collect(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_objects() {
        let row = vec!["Conv".to_owned(), "1".to_owned()];
        assert_eq!(object(&["a", "b"], &row), json!({"a": "Conv", "b": 1}));
    }
}
