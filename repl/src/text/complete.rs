//! Whether what is typed is a whole, or more lines are to come.

/// Whether brackets, braces and quotes are closed. A model in ONNX's text form has a body in braces.
pub(crate) fn is_complete(text: &str) -> bool {
    let trimmed = text.trim_start();
    if trimmed.starts_with(':') {
        return true;
    }
    let mut depth = 0i64;
    let mut braces = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '(' | '[' => depth += 1,
            '{' => {
                depth += 1;
                braces += 1;
            }
            ')' | ']' | '}' => depth -= 1,
            '#' => {
                chars.by_ref().find(|c| *c == '\n');
            }
            '"' | '\'' => loop {
                match chars.next() {
                    // A quote ends with its line: the rest is told as a mistake.
                    None | Some('\n') => break,
                    Some('\\') => {
                        chars.next();
                    }
                    Some(other) if other == c => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
    }
    depth <= 0 && (!is_model(text) || braces > 0 && has_functions(text))
}

/// Domains whose operators models need not bring along.
const KNOWN: &[&str] = &["", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft"];

/// Whether the operators that a model calls in domains of its own have functions: they stand behind the graph.
fn has_functions(text: &str) -> bool {
    let head = text.split('{').next().unwrap_or_default();
    let imported = head.split("opset_import").nth(1).and_then(|rest| rest.split(['[', ']']).nth(1));
    let domains = imported.unwrap_or_default().split('"').skip(1).step_by(2);
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let is_there = |name: &str| ["(", "<"].iter().any(|next| dense.contains(&format!(">{name}{next}")));
    let whole = |domain: &str| {
        let call = format!("={domain}.");
        let called = dense.split(&call).skip(1);
        called.filter_map(|rest| rest.split(['(', '<']).next()).all(is_there)
    };
    text.trim_end().ends_with('}') && domains.filter(|domain| !KNOWN.contains(domain)).all(whole)
}

/// Whether a text is a model in ONNX's text form: a header in angle brackets, or a graph with an arrow.
pub(crate) fn is_model(text: &str) -> bool {
    let body = match text.split_once('=') {
        Some((name, rest))
            if !name.trim().is_empty() && name.trim().chars().all(|c| c.is_alphanumeric() || c == '_') =>
        {
            rest
        }
        _ => text,
    };
    body.trim_start().starts_with('<') || text.contains("=>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_brackets_wait() {
        for (text, whole) in [
            ("y = Relu(x)", true),
            ("y = Relu(", false),
            ("[1,\n2]", true),
            ("\"(\"", true),
            ("x # (", true),
            (":print x[", true),
            (")", true),
            ("\"open", true),
            ("g (float[2] x) => (float[2] y)", false),
            ("g (float[2] x) => (float[2] y) { y = Relu(x) }", true),
            ("<ir_version: 8>", false),
            ("net = <ir_version: 8>\n", false),
            ("<opset_import: [\"\": 17, \"own\": 1]> g (x) => (y) { y = own.f(x) }", false),
            (
                "<opset_import: [\"\": 17, \"own\": 1]> g (x) => (y) { y = own.f(x) }\n<domain: \"own\"> f (a) => (b)",
                false,
            ),
            (
                "<opset_import: [\"\": 17, \"own\": 1]> g (x) => (y) { y = own.f(x) }\n<domain: \"own\"> f (a) => (b) { b = Neg(a) }",
                true,
            ),
            ("<opset_import: [\"\": 17]> g (x) => (y) { y = Relu(x) }", true),
            ("a <= b", true),
        ] {
            assert_eq!(is_complete(text), whole, "{text}");
        }
    }
}
