//! `kiln report`: what a compiled model takes of a machine, or what changed between two.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_ir::Error;
use kiln_ir::error::Printable;
use kiln_tools::table::{self, Column, Room};
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Answer, Ui};

/// Arguments of `kiln report`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::REPORT)]
pub(super) struct Args {
    /// A NAME.report.json that `kiln compile` wrote.
    #[arg(value_name = "A.json")]
    report: PathBuf,
    /// A later one: what changed is shown.
    #[arg(value_name = "B.json")]
    later: Option<PathBuf>,
}

/// Rows of a table, unless every one is asked for.
const ROWS: usize = 12;
/// No report is larger.
const MOST_BYTES: u64 = 1 << 30;
/// What is compared, with the words for it.
const TOTALS: &[(&str, &str)] = &[
    ("code", "code_bytes"),
    ("read-only data", "weights_bytes"),
    ("arena", "arena_bytes"),
    ("stack of a call", "stack_bytes"),
    ("arrays of a call on the stack", "local_bytes"),
    ("alive at one time", "arena_lower_bound_bytes"),
];

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    let report = read(&args.report)?;
    let Some(later) = &args.later else {
        show(ui, &report);
        return Ok(Answer::yes(report));
    };
    let later = read(later)?;
    let changes = changes(&report, &later);
    show_changes(ui, &report, &later, &changes);
    Ok(Answer::yes(changes))
}

fn read(path: &Path) -> Result<Value, Failure> {
    let failed = |e: std::io::Error| Failure::usage(format!("cannot read {}: {e}", path.display()));
    let size = std::fs::metadata(path).map_err(failed)?.len();
    let wrong = |what: &str| {
        let message = format!("{} {what}", path.display());
        Failure::from(Error::invalid(message).hint("`kiln compile MODEL -o DIR` writes DIR/NAME.report.json"))
    };
    if size > MOST_BYTES {
        return Err(wrong("is too large for a report"));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let report: Value = serde_json::from_slice(&bytes).map_err(|e| wrong(&format!("is no JSON: {e}")))?;
    if !report["kiln"].is_string() || !report["variants"].is_array() {
        return Err(wrong("is not a report of a compiled model"));
    }
    Ok(report)
}

/// The parts of a report that have kernels: the report itself, or each variant by its name.
fn parts(report: &Value) -> Vec<(String, &Value)> {
    match report["kernels"].is_array() {
        true => vec![(text(&report["cpu"]), report)],
        false => list(&report["variants"]).iter().map(|v| (text(&v["cpu"]), v)).collect(),
    }
}

fn show(ui: &Ui, report: &Value) {
    let room = Room::of_stdout();
    ui.text(format_args!(
        "{} for {}, {}",
        text(&report["name"]),
        text(&report["target"]),
        text(&report["cpu"])
    ));
    let least = count(&report["arena_lower_bound_bytes"]);
    // Arrays are told of C alone.
    let told = TOTALS.iter().filter(|(_, key)| *key != "local_bytes" || !report[*key].is_null());
    let rows = told.map(|(what, key)| {
        let note = match *key {
            "arena_bytes" if least > 0 => {
                format!(
                    "{:.1} % of what is alive at one time",
                    100.0 * count(&report[*key]) as f64 / least as f64
                )
            }
            _ => String::new(),
        };
        vec![(*what).to_owned(), bytes(&report[*key]), note]
    });
    print(
        ui,
        &[Column::Text(""), Column::Number("bytes"), Column::Prose("")],
        &rows.collect::<Vec<_>>(),
        room,
    );
    let parts = parts(report);
    for (name, part) in &parts {
        ui.text("");
        if parts.len() > 1 {
            ui.text(format_args!("for {name}:"));
        }
        show_part(ui, part, room);
    }
    let ways = list(&report["shrink"]);
    if !ways.is_empty() {
        ui.text("");
        let row = |way: &Value| {
            let saves =
                if count(&way["saves_bytes"]) > 0 { bytes(&way["saves_bytes"]) } else { String::new() };
            vec![text(&way["part"]), saves, text(&way["what"])]
        };
        let columns = [Column::Text("smaller"), Column::Number("saves about"), Column::Prose("how")];
        print(ui, &columns, &ways.iter().map(row).collect::<Vec<_>>(), room);
    }
}

fn show_part(ui: &Ui, part: &Value, room: Room) {
    let mut kernels: Vec<&Value> = list(&part["kernels"]).iter().collect();
    let all: u64 = kernels.iter().map(|k| count(&k["code_bytes"])).sum();
    kernels.sort_by_key(|k| std::cmp::Reverse(count(&k["code_bytes"])));
    let row = |kernel: &&Value| {
        let code = count(&kernel["code_bytes"]);
        let share = format!("{:.1}", 100.0 * code as f64 / all.max(1) as f64);
        vec![
            code.to_string(),
            share,
            count(&kernel["macs"]).to_string(),
            count(&kernel["stack_bytes"]).to_string(),
            text(&kernel["form"]),
            text(&kernel["name"]),
        ]
    };
    let columns = [
        Column::Number("code"),
        Column::Number("%"),
        Column::Number("MACs"),
        Column::Number("stack"),
        Column::Text("form"),
        Column::Name("kernel"),
    ];
    print(ui, &columns, &first(ui, &kernels, row), room);
    more(ui, kernels.len(), "kernels");
    let peak = &part["peak"];
    if !peak.is_object() {
        return;
    }
    let (slots, kernel) = (list(&part["arena"]), count(&peak["kernel"]));
    let at = text(&part["kernels"][kernel as usize]["name"]);
    ui.text("");
    ui.text(format_args!(
        "alive at the peak, {} bytes, in kernel {kernel} '{}':",
        count(&peak["bytes"]),
        Printable(&at)
    ));
    let told: Vec<&Value> =
        list(&peak["slots"]).iter().filter_map(|i| slots.get(count(i) as usize)).collect();
    let row = |slot: &&Value| vec![count(&slot["bytes"]).to_string(), text(&slot["name"])];
    print(ui, &[Column::Number("bytes"), Column::Name("buffer")], &first(ui, &told, row), room);
    more(ui, told.len(), "buffers");
}

fn first<T>(ui: &Ui, items: &[T], row: impl Fn(&T) -> Vec<String>) -> Vec<Vec<String>> {
    let most = if ui.verbose() { items.len() } else { ROWS };
    items.iter().take(most).map(row).collect()
}

fn more(ui: &Ui, all: usize, what: &str) {
    if all > ROWS && !ui.verbose() {
        ui.text(format_args!("... and {} more {what} (--verbose)", all - ROWS));
    }
}

/// What changed: totals, and kernels by name.
fn changes(a: &Value, b: &Value) -> Value {
    let totals = TOTALS.iter().map(|(_, key)| {
        let change = json!({ "before": a[*key], "after": b[*key] });
        ((*key).to_owned(), change)
    });
    let by_name = |report: &Value| {
        let mut all: BTreeMap<(String, String), u64> = BTreeMap::new();
        for (level, part) in parts(report) {
            for kernel in list(&part["kernels"]) {
                *all.entry((level.clone(), text(&kernel["name"]))).or_default() +=
                    count(&kernel["code_bytes"]);
            }
        }
        all
    };
    let (old, new) = (by_name(a), by_name(b));
    let mut kernels: Vec<Value> = Vec::new();
    for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
        let (before, after) = (old.get(key), new.get(key));
        if before != after {
            kernels.push(json!({ "cpu": key.0, "name": key.1, "code_bytes_before": before, "code_bytes_after": after }));
        }
    }
    let moved = |k: &Value| count(&k["code_bytes_before"]).abs_diff(count(&k["code_bytes_after"]));
    kernels.sort_by_key(|k| std::cmp::Reverse(moved(k)));
    json!({ "totals": totals.collect::<serde_json::Map<_, _>>(), "kernels": kernels })
}

fn show_changes(ui: &Ui, a: &Value, b: &Value, changes: &Value) {
    let room = Room::of_stdout();
    for (which, report) in [("before", a), ("after", b)] {
        let (name, target, cpu) = (text(&report["name"]), text(&report["target"]), text(&report["cpu"]));
        ui.text(format_args!("{which}: {name} for {target}, {cpu}"));
    }
    let row = |(what, key): &(&str, &str)| {
        let change = &changes["totals"][*key];
        let (before, after) = (&change["before"], &change["after"]);
        vec![(*what).to_owned(), bytes(before), bytes(after), percent(before, after)]
    };
    let columns =
        [Column::Text(""), Column::Number("before"), Column::Number("after"), Column::Number("change")];
    print(ui, &columns, &TOTALS.iter().map(row).collect::<Vec<_>>(), room);
    let kernels = list(&changes["kernels"]);
    ui.text("");
    if kernels.is_empty() {
        ui.text("every kernel has code of the same size");
        return;
    }
    let several = parts(a).len() > 1
        || parts(b).len() > 1
        || parts(a).first().map(|p| &p.0) != parts(b).first().map(|p| &p.0);
    let row = |kernel: &Value| {
        let (before, after) = (&kernel["code_bytes_before"], &kernel["code_bytes_after"]);
        let level = if several { format!(" ({})", text(&kernel["cpu"])) } else { String::new() };
        vec![bytes(before), bytes(after), percent(before, after), text(&kernel["name"]) + &level]
    };
    let columns = [
        Column::Number("code before"),
        Column::Number("after"),
        Column::Number("change"),
        Column::Name("kernel"),
    ];
    print(ui, &columns, &first(ui, kernels, row), room);
    more(ui, kernels.len(), "kernels");
}

/// A size; nothing where there is none.
fn bytes(value: &Value) -> String {
    value.as_u64().map_or("-".to_owned(), |n| n.to_string())
}

fn percent(before: &Value, after: &Value) -> String {
    match (before.as_u64(), after.as_u64()) {
        (Some(a), Some(b)) if a == b => "same".to_owned(),
        (Some(a), Some(b)) if a > 0 => format!("{:+.1} %", 100.0 * (b as f64 / a as f64 - 1.0)),
        (None | Some(0), Some(_)) => "new".to_owned(),
        (Some(_), None) => "gone".to_owned(),
        _ => String::new(),
    }
}

fn print(ui: &Ui, columns: &[Column], rows: &[Vec<String>], room: Room) {
    table::lines(columns, rows, room).iter().filter(|line| !line.is_empty()).for_each(|line| ui.text(line));
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> String {
    Printable(value.as_str().unwrap_or_default()).to_string()
}
