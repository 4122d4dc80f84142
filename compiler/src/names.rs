//! Names that C programs can use.

/// Whether text can name a C function: an identifier and not a keyword.
pub fn is_c_identifier(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain && text.starts_with(|c: char| !c.is_ascii_digit()) && !KEYWORDS.contains(&text) && text.len() <= 200
}

/// A C identifier that resembles `text`.
pub fn c_identifier(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut name: String = text.chars().take(180).map(safe).collect();
    if name.chars().all(|c| c == '_') {
        name = "model".to_owned();
    }
    // Names that start with an underscore may be the C implementation's own.
    if name.starts_with(|c: char| c.is_ascii_digit() || c == '_') {
        name.insert_str(0, "model");
    }
    if !is_c_identifier(&name) {
        name.push_str("_model");
    }
    name
}

/// Keywords of C up to C23 and of C++ up to C++23, and `main`.
pub(crate) const KEYWORDS: &[&str] = &[
    "alignas",
    "alignof",
    "and",
    "and_eq",
    "asm",
    "auto",
    "bitand",
    "bitor",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "char16_t",
    "char32_t",
    "char8_t",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "concept",
    "const",
    "const_cast",
    "consteval",
    "constexpr",
    "constinit",
    "continue",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dynamic_cast",
    "else",
    "enum",
    "explicit",
    "export",
    "extern",
    "false",
    "float",
    "for",
    "friend",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "main",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "not_eq",
    "nullptr",
    "operator",
    "or",
    "or_eq",
    "private",
    "protected",
    "public",
    "register",
    "reinterpret_cast",
    "requires",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_assert",
    "static_cast",
    "struct",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "typeof_unqual",
    "union",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "while",
    "xor",
    "xor_eq",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() {
        for (text, name) in [
            ("resnet50", "resnet50"),
            ("my model-v1.2", "my_model_v1_2"),
            ("50net", "model50net"),
            ("_x", "model_x"),
            ("", "model"),
            ("größe", "gr__e"),
            ("int", "int_model"),
        ] {
            assert_eq!(c_identifier(text), name);
            assert!(is_c_identifier(&c_identifier(text)), "{text}");
        }
        for text in ["", "1a", "a b", "while", "ä"] {
            assert!(!is_c_identifier(text), "{text}");
        }
    }
}
