//! Open dimensions in a header: the struct of sizes and its bounds.

use std::fmt::Write;

use kiln_ir::kernel::plan::Plan;

use super::text::c_string;
use crate::emit::dimensions::{Language, Members};
use crate::names::{c_identifier, is_c_identifier};

/// A member for each dimension, as near to its name as C allows.
pub(super) fn members(plan: &Plan) -> Members<'_> {
    let stem = |symbol: &str| if is_c_identifier(symbol) { symbol.to_owned() } else { c_identifier(symbol) };
    Members::new(plan, Language::C, stem)
}

/// The struct, and what is known of each dimension. Nothing where there is none.
pub(super) fn text(members: &Members<'_>, name: &str) -> String {
    if members.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n/* Dimensions that every call has sizes of its own for. */\n");
    let _ = writeln!(out, "#define {name}_DIMS {}", members.list.len());
    for (i, member) in members.list.iter().enumerate() {
        let _ = write!(
            out,
            "#define {name}_DIM_{i}_NAME {}\n#define {name}_DIM_{i}_MIN {}\n#define {name}_DIM_{i}_MAX {}\n",
            c_string(member.symbol),
            member.bound.lo,
            member.bound.hi
        );
    }
    let _ = writeln!(out, "typedef struct {name}_sizes {{");
    for (i, member) in members.list.iter().enumerate() {
        let told = if member.counted { ": the call tells it" } else { "" };
        let _ = writeln!(
            out,
            "    int64_t {}; /* {name}_DIM_{i}_NAME, from {} to {}{told} */",
            member.name, member.bound.lo, member.bound.hi
        );
    }
    let _ = writeln!(out, "}} {name}_sizes;");
    out
}

/// An assignment to every member that a caller tells, for the example.
pub(super) fn example(members: &Members<'_>, name: &str) -> String {
    let told = members.list.iter().filter(|m| !m.counted);
    let list: Vec<String> = told.map(|m| format!(".{} = {}", m.name, m.bound.typical)).collect();
    let list = if list.is_empty() { "0".to_owned() } else { list.join(", ") };
    format!(" *     {name}_sizes sizes = {{ {list} }};\n")
}
