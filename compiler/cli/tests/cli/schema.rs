//! JSON against a schema that uses no more than the words below, as `docs/report.schema.json` does.

use serde_json::Value;

/// What is wrong with a value, each with its place.
pub(crate) fn wrong(schema: &Value, value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    Checker { root: schema, out: &mut out }.check(schema, value, "");
    out
}

struct Checker<'a> {
    root: &'a Value,
    out: &'a mut Vec<String>,
}

impl Checker<'_> {
    fn check(&mut self, schema: &Value, value: &Value, at: &str) {
        for (word, says) in schema.as_object().unwrap() {
            let right = match &**word {
                "$schema" | "$defs" | "title" | "description" => true,
                "$ref" => {
                    let pointer = says.as_str().unwrap().strip_prefix('#').unwrap();
                    self.check(self.root.pointer(pointer).unwrap(), value, at);
                    true
                }
                "type" => {
                    let kinds = says.as_array().map_or(std::slice::from_ref(says), Vec::as_slice);
                    kinds.iter().any(|kind| is(value, kind.as_str().unwrap()))
                }
                "enum" => says.as_array().unwrap().contains(value),
                "anyOf" => says.as_array().unwrap().iter().any(|one| {
                    let mut out = Vec::new();
                    Checker { root: self.root, out: &mut out }.check(one, value, at);
                    out.is_empty()
                }),
                "minimum" => value.as_f64().is_none_or(|v| v >= says.as_f64().unwrap()),
                "minItems" => value.as_array().is_none_or(|v| v.len() as u64 >= says.as_u64().unwrap()),
                // The one that there is: a digest.
                "pattern" => {
                    assert_eq!(says, "^[0-9a-f]{64}$");
                    let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                    value.as_str().is_none_or(|v| v.len() == 64 && v.chars().all(digit))
                }
                "required" => names(says).all(|name| value.get(name).is_some()),
                "dependentRequired" => says.as_object().unwrap().iter().all(|(name, others)| {
                    value.get(name).is_none() || names(others).all(|other| value.get(other).is_some())
                }),
                "additionalProperties" => {
                    assert_eq!(says, false);
                    let known = schema["properties"].as_object().unwrap();
                    value.as_object().is_none_or(|v| v.keys().all(|name| known.contains_key(name)))
                }
                "properties" => {
                    for (name, schema) in says.as_object().unwrap() {
                        if let Some(value) = value.get(name) {
                            self.check(schema, value, &format!("{at}/{name}"));
                        }
                    }
                    true
                }
                "items" => {
                    for (i, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(says, value, &format!("{at}/{i}"));
                    }
                    true
                }
                other => panic!("the schema says '{other}', which nobody checks"),
            };
            if !right {
                self.out.push(format!("{at}: {word} {says}"));
            }
        }
    }
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap())
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type '{other}', which nobody checks"),
    }
}
