//! What is shown behind the cursor while somebody types.

use kiln_ir::ops;

use super::complete::call_around;
use super::names::Names;
use crate::commands;
use crate::expression::{attributes, functions};

/// How a command or a call goes on.
pub(super) fn hint(line: &str, names: &Names) -> Option<String> {
    if let Some(rest) = line.strip_prefix(':') {
        let (name, arguments) = rest.split_once(' ')?;
        let command = commands::find(name).filter(|_| arguments.is_empty())?;
        let usage = command.usage.split("   or   ").next()?.split_once(' ')?.1;
        return Some(usage.to_owned());
    }
    let called = call_around(line).filter(|_| line.ends_with('('))?;
    if let Some(function) = functions::find(called) {
        return Some(format!("{})", function.params.join(", ")));
    }
    if let Some(arguments) = names.models.get(called) {
        return Some(format!("{})", arguments.join(", ")));
    }
    let def = ops::OPS.iter().find(|d| d.name == called)?;
    let attributes = attributes::of(def);
    if attributes.is_empty() { None } else { Some(format!("..., {}=)", attributes.join("=, "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_goes_on() {
        let of = |line| hint(line, &Names::default());
        assert_eq!(of(":load ").as_deref(), Some("PATH [as NAME] [OPTIONS OF IMAGES]"));
        assert_eq!(of("random(").as_deref(), Some("shape, dtype, seed)"));
        assert_eq!(of("y = Softmax(").as_deref(), Some("..., axis=)"));
        assert_eq!(of("x + 1"), None);
    }
}
