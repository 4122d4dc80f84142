//! Folders as the tools of boards want them, with the model as C99 in them: no board is unknown to its own compiler.
//!
//! Each kind has a folder `KIND/NAME`, which is what is given to the tool, and a file of its own here: the names of its
//! files, and their texts in the same order.

pub mod arduino;
pub mod esp_idf;
pub mod platformio;
pub mod zephyr;

use std::fmt::Write as _;

use kiln_ir::kernel::plan::Plan;
use kiln_runtime::abi::ABI_VERSION;

/// What a folder is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The prefix of every symbol.
    pub name: &'a str,
    /// The text of `NAME.h`.
    pub header: &'a str,
    /// The text of `NAME.c`.
    pub source: &'a str,
    /// The plan that they are of.
    pub plan: &'a Plan,
}

/// Where to read about the compiler.
const HOME: &str = env!("CARGO_PKG_REPOSITORY");

/// What a folder says that it is.
const SENTENCE: &str = "A model compiled by Kiln";

/// The version of a folder, that of the interface.
fn version() -> String {
    format!("{ABI_VERSION}.0.0")
}

/// Buffers for a call, as statics of C and C++.
fn buffers(parts: &Parts<'_>) -> String {
    let mut out = String::new();
    for (kind, ports) in [("INPUT", &parts.plan.inputs), ("OUTPUT", &parts.plan.outputs)] {
        for i in 0..ports.len() {
            let (prefix, lower) = (format!("{}_{kind}_{i}", parts.name), kind.to_lowercase());
            let _ = writeln!(out, "static {prefix}_CTYPE {lower}_{i}[{prefix}_ELEMENTS];");
        }
    }
    out
}

/// Statements that call the model: `status` has the answer.
fn call(parts: &Parts<'_>) -> String {
    let name = parts.name;
    let list = |word: &str, count: usize| match count {
        0 => "NULL".to_owned(),
        _ => (0..count).map(|i| format!("{word}_{i}")).collect::<Vec<_>>().join(", "),
    };
    let (inputs, outputs) =
        (list("input", parts.plan.inputs.len()), list("output", parts.plan.outputs.len()));
    let (sizes, argument) = match parts.plan.bounds.len() {
        0 => (String::new(), ""),
        dims => {
            let most = (0..dims).map(|i| format!("{name}_DIM_{i}_MAX")).collect::<Vec<_>>().join(", ");
            (format!("    {name}_sizes sizes = {{{most}}};\n"), ", &sizes")
        }
    };
    format!(
        "    const void *inputs[] = {{{inputs}}};
    void *outputs[] = {{{outputs}}};
{sizes}    int status = {name}_run(inputs, outputs, arena{argument});
"
    )
}
