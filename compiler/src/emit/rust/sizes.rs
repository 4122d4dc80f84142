//! What a module has where dimensions are open: the structure of sizes, shapes that follow, and the check before a call.

use std::fmt::Write;

use kiln_ir::kernel::plan::Plan;

use super::fields::{Elements, Field, KEYWORDS};
use crate::emit::dimensions::{Language, Members};
use crate::emit::fields::{identifier, one_line};

/// A member for each dimension.
pub(super) fn members(plan: &Plan) -> Members<'_> {
    Members::new(plan, Language::Rust, |symbol| identifier(symbol, KEYWORDS))
}

/// The parameter of `run`, the statement before a call, and the argument of the function that is called. A call tells sizes
/// that depend on data in what it is given.
pub(super) struct Passed {
    pub(super) parameter: &'static str,
    pub(super) before: &'static str,
    pub(super) argument: &'static str,
    pub(super) declared: &'static str,
}

impl Passed {
    pub(super) fn of(members: &Members<'_>) -> Self {
        let declared = "\n        sizes: *mut Sizes,";
        if members.is_empty() {
            Self { parameter: "", before: "", argument: "", declared: "" }
        } else if members.list.iter().any(|m| m.counted) {
            Self {
                parameter: ", sizes: &mut Sizes",
                before: "fits(&inputs, &outputs, sizes)?;\n    ",
                argument: ", &raw mut *sizes",
                declared,
            }
        } else {
            Self {
                parameter: ", mut sizes: Sizes",
                before: "fits(&inputs, &outputs, &sizes)?;\n    ",
                argument: ", &raw mut sizes",
                declared,
            }
        }
    }
}

/// The structure, with its bounds, and shapes of what is open. Nothing where no dimension is.
pub(super) fn text(members: &Members<'_>, inputs: &[Field], outputs: &[Field]) -> String {
    if members.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "/// Dimensions that every call has sizes of its own for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Sizes {\n",
    );
    for m in &members.list {
        let told = if m.counted { ": the call tells it" } else { "" };
        let (symbol, bound) = (one_line(m.symbol), m.bound);
        let _ = writeln!(
            out,
            "    /// `{symbol}`, from {} to {}{told}.\n    pub {}: i64,",
            bound.lo, bound.hi, m.name
        );
    }
    out.push_str("}\n\nimpl Sizes {\n");
    for (name, meaning, greatest) in [("MIN", "least", false), ("MAX", "greatest", true)] {
        let value = |i: usize| if greatest { members.list[i].bound.hi } else { members.list[i].bound.lo };
        let list: Vec<String> =
            members.list.iter().enumerate().map(|(i, m)| format!("{}: {}", m.name, value(i))).collect();
        let _ = writeln!(
            out,
            "    /// The {meaning} of each.\n    pub const {name}: Self = Self {{ {} }};",
            list.join(", ")
        );
    }
    out.push_str("}\n\n");
    for (structure, fields) in [("Inputs", inputs), ("Outputs", outputs)] {
        out.push_str(&shapes(structure, fields));
    }
    out.push_str(
        "/// An extent that follows from sizes.
fn extent(size: i64) -> usize {
    usize::try_from(size).unwrap_or(0)
}\n\n",
    );
    out + &check(members, inputs, outputs)
}

/// Functions that give the shapes of fields that are open.
fn shapes(structure: &str, fields: &[Field]) -> String {
    let mut functions = String::new();
    for field in fields {
        let Elements::Open { extents, room } = &field.elements else { continue };
        let told = if room.is_some() { ", when it has returned" } else { "" };
        // What is no number stands in parentheses.
        let call =
            |e: &String| if e.starts_with('(') { format!("extent{e}") } else { format!("extent({e})") };
        let list: Vec<String> = extents.iter().map(call).collect();
        let _ = writeln!(
            functions,
            "    /// The shape of `{0}` in a call of these sizes{told}.
    #[allow(unused_parens, unused_variables)]
    pub fn {1}_shape(sizes: &Sizes) -> [usize; {2}] {{
        [{3}]
    }}",
            field.name,
            field.stem(),
            extents.len(),
            list.join(", ")
        );
        if let Some(room) = room {
            let (name, most) = (&field.name, field.most());
            let _ = writeln!(
                functions,
                "\n    /// Elements that `{name}` needs room for.\n    pub const {most}: usize = {room};"
            );
        }
    }
    if functions.is_empty() { functions } else { format!("impl {structure}<'_> {{\n{functions}}}\n\n") }
}

/// The function that refuses sizes and slices which do not go together.
fn check(members: &Members<'_>, inputs: &[Field], outputs: &[Field]) -> String {
    let told = members.list.iter().filter(|m| !m.counted);
    let within: Vec<String> =
        told.map(|m| format!("({}..={}).contains(&sizes.{})", m.bound.lo, m.bound.hi, m.name)).collect();
    let within = if within.is_empty() { "true".to_owned() } else { within.join(" && ") };
    let mut enough = Vec::new();
    for (structure, of, fields) in [("Inputs", "inputs", inputs), ("Outputs", "outputs", outputs)] {
        for field in fields {
            let (name, stem) = (&field.name, field.stem());
            match &field.elements {
                Elements::Fixed(_) => {}
                Elements::Open { room: Some(_), .. } => {
                    enough.push(format!("{of}.{name}.len() >= {structure}::{}", field.most()));
                }
                Elements::Open { .. } => enough.push(format!(
                    "{of}.{name}.len() >= {structure}::{stem}_shape(sizes).iter().product::<usize>()"
                )),
            }
        }
    }
    let enough = if enough.is_empty() { "true".to_owned() } else { enough.join("\n        && ") };
    let lifetime = |fields: &[Field]| if fields.is_empty() { "" } else { "<'_>" };
    format!(
        "/// Sizes that the caller tells are within their bounds, and slices are long enough for them.
#[allow(unused_variables)]
fn fits(inputs: &Inputs{}, outputs: &Outputs{}, sizes: &Sizes) -> Result<(), Failure> {{
    let within = {within};
    if !within {{
        return Err(Failure::DimensionOutOfBounds);
    }}
    let enough = {enough};
    if enough {{ Ok(()) }} else {{ Err(Failure::TooShort) }}
}}\n\n",
        lifetime(inputs),
        lifetime(outputs)
    )
}
