//! `kiln inspect`: what is in a model, and what of it is unsupported.

use kiln_compiler::internals::api::Loaded;
use kiln_compiler::internals::pipeline::{self, Observer};
use kiln_ir::error::Printable;
use kiln_ir::kernel::{Form, Program, WindowOp};
use kiln_ir::{Dim, ErrorKind, Errors};
use serde_json::{Value, json};

use super::args::{self, CpuArgs, ModelArgs};
use super::failure::Failure;
use super::group;
use super::output::{Answer, Ui};
use super::source::Source;
use super::weights;
use kiln_tools::table::{self, Column, Room};

/// Arguments of `kiln inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::INSPECT)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    let limits = args.model.shape.limits();
    let progress = ui.progress(2);
    progress.step("reading the model");
    let source = Source::open(&args.model.model, &limits)?;
    let outline = source.outline(&limits)?;
    let mut json = weights::describe(&outline);
    drop(outline);
    progress.done();
    progress.step("looking for what is unsupported");
    let cpu = CpuArgs { cpu: vec!["baseline".to_owned()], features: String::new() };
    let compiler = args::compiler_of(source, &args.model.shape, &cpu)?;
    let (found, note) = match compiler.load().map_err(Failure::from) {
        Ok(model) => {
            json["name"] = json!(model.name);
            lowered(&model)?
        }
        Err(Failure::Errors(errors)) if errors.kind() == ErrorKind::Unsupported => {
            (Lowered { unsupported: errors, ..Lowered::default() }, None)
        }
        Err(other) => return Err(other),
    };
    drop(progress);
    json["macs"] = json!(found.macs.as_ref().and_then(Dim::as_const));
    json["macs_with"] = found.with.iter().map(|(name, n)| (name.clone(), json!(n))).collect();
    json["macs_formula"] = json!(found.formula.as_ref().map(Dim::to_string));
    let error =
        |e: &kiln_ir::Error| json!({ "node": e.node, "op": e.op, "message": e.message, "hint": e.hint });
    json["unsupported"] = found.unsupported.0.iter().map(error).collect();
    json["unsupported_groups"] = (group::groups(&found.unsupported.0).iter())
        .map(|g| {
            let first = g.first();
            json!({ "op": first.op, "message": first.message, "count": g.errors.len(), "example": first.node })
        })
        .collect();
    print(ui, &json);
    if let Some(note) = note {
        ui.note(note);
    }
    if found.unsupported.0.is_empty() {
        return Ok(Answer::yes(json));
    }
    ui.errors(&found.unsupported);
    Ok(Answer { code: found.unsupported.exit_code(), json })
}

/// How far the model gets.
#[derive(Default)]
struct Lowered {
    unsupported: Errors,
    /// Multiplications with [`Lowered::with`].
    macs: Option<Dim>,
    /// The same for any value of the open dimensions, where that can be said.
    formula: Option<Dim>,
    /// Values that open dimensions were given.
    with: Vec<(String, i64)>,
}

/// Values for dimensions that are not bound: 1, and where a model breaks its own rules with that, common sizes of
/// sequences and images.
const TRIED: [i64; 4] = [1, 64, 224, 640];

/// Lowers the model with open dimensions, for a formula, and with values for them, for what is unsupported. The text
/// is a note.
fn lowered(model: &Loaded) -> Result<(Lowered, Option<String>), Failure> {
    let unbound = model.unbound();
    let open = if unbound.is_empty() { None } else { macs_of(model.clone()).ok().flatten() };
    let mut broken = Errors::default();
    for value in TRIED {
        let mut model = model.clone();
        unbound.iter().for_each(|name| model.bind(name, value));
        let with = unbound.iter().map(|name| (name.clone(), value)).collect();
        let found = Lowered { formula: open.clone(), with, ..Lowered::default() };
        match macs_of(model) {
            Ok(macs) => return Ok((Lowered { macs, ..found }, None)),
            Err(errors) if errors.kind() == ErrorKind::Unsupported => {
                return Ok((Lowered { unsupported: errors, ..found }, None));
            }
            Err(errors) if unbound.is_empty() || errors.kind() != ErrorKind::Invalid => {
                return Err(errors.into());
            }
            Err(errors) if broken.0.is_empty() => broken = errors,
            Err(_) => {}
        }
    }
    let names = unbound.join(", ");
    let first = broken.0.first().map(ToString::to_string).unwrap_or_default();
    let note = format!(
        "no common size for {} fits the model (with {}: {}); bind what it is made for with --dim {}=N",
        Printable(&names),
        TRIED[0],
        Printable(&first),
        Printable(&unbound[0]),
    );
    Ok((Lowered { formula: open, ..Lowered::default() }, Some(note)))
}

/// Multiplications of the model right after lowering, when each operator has its own kernels.
fn macs_of(model: Loaded) -> Result<Option<Dim>, Errors> {
    struct Count(Option<Dim>);
    impl Observer for Count {
        fn program(&mut self, pass: &'static str, program: &Program) {
            if pass == "lower" {
                self.0 = Some(macs(program));
            }
        }

        fn proceed(&mut self, pass: &'static str) -> bool {
            pass != "lower"
        }
    }
    let mut count = Count(None);
    pipeline::run(model.graph, &model.options, &mut count)?;
    Ok(count.0)
}

/// Products that are added up: iterations of contractions and depthwise convolutions, padding included.
fn macs(program: &Program) -> Dim {
    let counts = |form: &Form| matches!(form, Form::Contract { .. } | Form::Window { op: WindowOp::Dot, .. });
    let kernels = program.kernels().iter().filter(|k| counts(&k.form));
    kernels.map(|k| k.iterations()).fold(Dim::Const(0), |sum, n| sum + n)
}

/// A formula that is longer is no help.
const LONGEST_FORMULA: usize = 200;

fn print(ui: &Ui, json: &Value) {
    let room = Room::of_stdout();
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), |s| Printable(s).to_string());
    let list = |v: &Value| v.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let map = |v: &Value| {
        let entries = v.as_object().into_iter().flatten();
        entries.map(|(k, v)| format!("{} {}", Printable(k), text(v))).collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![format!("model {}", text(&json["name"]))];
    let mut say = |title: &str, what: String| {
        for (i, line) in table::wrap(&what, room.width.saturating_sub(13)).into_iter().enumerate() {
            lines.push(format!("{:12} {line}", if i == 0 { title } else { "" }));
        }
    };
    for (key, title) in [("inputs", "  input"), ("outputs", "  output")] {
        for port in json[key].as_array().into_iter().flatten() {
            let shape = if port["shape"].is_null() { "?".to_owned() } else { list(&port["shape"]) };
            say(title, format!("{} {}[{shape}]", text(&port["name"]), text(&port["dtype"])));
        }
    }
    if json["producer"].as_str().is_some_and(|p| !p.is_empty()) {
        say("made by", text(&json["producer"]));
    }
    say("opsets", map(&json["opsets"]));
    say("nodes", format!("{}: {}", json["nodes"], map(&json["operators"])));
    say(
        "parameters",
        format!(
            "{} ({} bytes): {}",
            json["parameters"],
            json["parameter_bytes"],
            map(&json["parameters_by_type"])
        ),
    );
    let formula = text(&json["macs_formula"]);
    if !json["macs"].is_null() {
        let with = map(&json["macs_with"]);
        let with = if with.is_empty() { String::new() } else { format!(" with {with}") };
        say("MACs", format!("{}{with}", json["macs"]));
    }
    if !json["macs_formula"].is_null() && formula.len() <= LONGEST_FORMULA {
        say(if json["macs"].is_null() { "MACs" } else { "" }, formula);
    }
    if json["symbols"].as_array().is_some_and(|s| !s.is_empty()) {
        say("dimensions", list(&json["symbols"]));
    }
    let quantised = map(&json["quantisation"]["operators"]);
    say("quantised", if quantised.is_empty() { "no".to_owned() } else { quantised });
    let sparse = |w: &&Value| w["sparsity"].as_f64().is_some_and(|s| s >= 0.005);
    let rows: Vec<Vec<String>> = (json["weights"].as_array().into_iter().flatten().filter(sparse))
        .map(|w| {
            let percent = format!("{:.1}", 100.0 * w["sparsity"].as_f64().unwrap_or(0.0));
            let block = if w["block"].is_null() { String::new() } else { text(&w["block"]) };
            let ty = format!("{}[{}]", text(&w["dtype"]), list(&w["shape"]));
            vec![percent, block, ty, text(&w["name"])]
        })
        .collect();
    if !rows.is_empty() {
        let columns =
            [Column::Number("% zeros"), Column::Text("block"), Column::Text("type"), Column::Name("weight")];
        lines.extend(table::lines(&columns, &rows, room));
    }
    ui.text(lines.join("\n"));
}
