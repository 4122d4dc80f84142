//! Names for a model's inputs and outputs in programs: fields of structures.

use std::collections::HashSet;

use kiln_ir::kernel::plan::Port;

/// An identifier for each port that resembles its name, in snake case, unique among them and none of these keywords.
pub(super) fn names(ports: &[Port], keywords: &[&str]) -> Vec<String> {
    let mut taken = HashSet::new();
    let unique = |port: &Port| {
        let plain = identifier(&port.name, keywords);
        let mut name = plain.clone();
        let mut number = 1;
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("{}_{number}", plain.trim_end_matches('_'));
        }
        name
    };
    ports.iter().map(unique).collect()
}

/// A field's name that resembles a value's.
pub(super) fn identifier(value: &str, keywords: &[&str]) -> String {
    let words = value.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name: String = words.collect::<Vec<_>>().join("_").to_ascii_lowercase();
    name.truncate(100);
    if name.is_empty() {
        name = "value".to_owned();
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if keywords.contains(&&*name) {
        name.push('_');
    }
    name
}

/// Text that ends neither a line nor a comment.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '`' { '?' } else { c }).collect()
}
