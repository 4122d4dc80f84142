//! Errors that say the same of several nodes, told once.

use kiln_ir::{Error, ErrorKind};

/// Errors of one kind, operator and reason; never empty.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// Every error, in the model's order.
    pub(super) errors: Vec<&'a Error>,
}

impl<'a> Group<'a> {
    /// The one that stands for all.
    pub(super) fn first(&self) -> &'a Error {
        self.errors[0]
    }

    /// The nodes that are named, each once.
    pub(super) fn nodes(&self) -> Vec<&'a str> {
        let mut nodes: Vec<&str> = self.errors.iter().map(|e| &*e.node).filter(|n| !n.is_empty()).collect();
        nodes.dedup();
        nodes
    }
}

/// Groups in the order of their first errors. Reasons that differ in names and numbers only are one.
pub(super) fn groups(errors: &[Error]) -> Vec<Group<'_>> {
    let mut groups: Vec<(Key, Group<'_>)> = Vec::new();
    for error in errors {
        let key = Key::of(error);
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, group)) => group.errors.push(error),
            None => groups.push((key, Group { errors: vec![error] })),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[derive(PartialEq)]
struct Key {
    kind: ErrorKind,
    op: String,
    reason: String,
}

impl Key {
    fn of(error: &Error) -> Self {
        Self { kind: error.kind, op: error.op.clone(), reason: pattern(&error.message) }
    }
}

/// A message without what is peculiar to one node: the text between quotes, and numbers.
pub(super) fn pattern(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message.chars().peekable();
    while let Some(c) = rest.next() {
        let opens = c == '\'' && !out.ends_with(char::is_alphanumeric);
        if opens && rest.clone().any(|c| c == '\'') {
            rest.by_ref().find(|c| *c == '\'');
            out.push_str("''");
        } else if c.is_ascii_digit() && !out.ends_with(char::is_alphanumeric) {
            while rest.next_if(char::is_ascii_digit).is_some() {}
            out.push('#');
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_is_one_group() {
        let at = |message: &str, node: &str, op: &str| Error::unsupported(message).at(node, op);
        let errors = [
            at("input 1 ('a') is open", "n1", "Foo"),
            at("input 22 ('it is b') is open", "n2", "Foo"),
            at("input 1 ('a') is open", "n3", "Bar"),
            at("elements are f16", "n4", "Foo"),
            at("elements are f64", "n5", "Foo"),
        ];
        let groups = groups(&errors);
        let nodes: Vec<_> = groups.iter().map(Group::nodes).collect();
        assert_eq!(nodes, [vec!["n1", "n2"], vec!["n3"], vec!["n4"], vec!["n5"]]);
    }

    #[test]
    fn apostrophes_are_no_quotes() {
        assert_eq!(pattern("the node's output 'x' isn't there"), "the node's output '' isn't there");
        assert_eq!(pattern("an open 'quote"), "an open 'quote");
    }
}
