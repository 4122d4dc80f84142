//! Inputs and outputs as fields of structures.

use std::fmt::Write;

use kiln_ir::kernel::plan::{Plan, Port};
use kiln_ir::{DType, Dim, Error, Result};

use crate::emit::dimensions::Members;
use crate::emit::fields::{names, one_line};

/// An input or output as a field.
pub(super) struct Field {
    /// A Rust identifier, unique among its kind.
    pub(super) name: String,
    /// `[f32; 3072]`, or `[f32]` where the shape is open.
    pub(super) ty: String,
    /// An element.
    pub(super) zero: &'static str,
    /// In the model: name, type and shape.
    meaning: String,
    /// How many elements there are, or what is known of a shape that is open.
    pub(super) elements: Elements,
}

impl Field {
    /// What names begin with that are made of the field's.
    pub(super) fn stem(&self) -> &str {
        self.name.trim_end_matches('_')
    }

    /// The name of the constant that tells how much room it needs.
    pub(super) fn most(&self) -> String {
        format!("{}_MOST", self.stem().to_ascii_uppercase())
    }
}

/// Elements of a field.
pub(super) enum Elements {
    /// So many.
    Fixed(usize),
    /// As many as the sizes say.
    Open {
        /// Expressions of the extents.
        extents: Vec<String>,
        /// Where the call tells the shape: room for the most.
        room: Option<usize>,
    },
}

/// The fields of a structure; `members` are those of the structure of sizes.
pub(super) fn fields(plan: &Plan, ports: &[Port], members: &Members<'_>) -> Result<Vec<Field>> {
    let mut out = Vec::with_capacity(ports.len());
    for (port, name) in ports.iter().zip(names(ports, KEYWORDS)) {
        let (shape, element) = (&port.ty.shape, element(port.ty.dtype));
        let zero = match element {
            "f32" | "f64" => "0.0",
            "bool" => "false",
            _ => "0",
        };
        let (elements, ty) = match shape.as_const() {
            Some(shape) => {
                let count = shape.iter().product();
                (Elements::Fixed(count), format!("[{element}; {count}]"))
            }
            None => {
                let extents = shape.iter().map(|d| members.expression(d)).collect::<Result<Vec<_>>>()?;
                let told = shape.iter().any(|d| follows(d, members));
                let room = if told { Some(most(plan, port)?) } else { None };
                (Elements::Open { extents, room }, format!("[{element}]"))
            }
        };
        let meaning = format!("`{}`: {}.", one_line(&port.name), one_line(&port.ty.to_string()));
        out.push(Field { name, ty, zero, meaning, elements });
    }
    Ok(out)
}

/// Whether a dimension that the call tells is part of an extent.
fn follows(extent: &Dim, members: &Members<'_>) -> bool {
    let symbols = extent.symbols();
    members.list.iter().any(|m| m.counted && symbols.contains(m.symbol))
}

fn most(plan: &Plan, port: &Port) -> Result<usize> {
    let most = port.ty.shape.elements().most(&plan.bounds).and_then(|n| usize::try_from(n).ok());
    most.ok_or_else(|| {
        Error::unsupported(format!("'{}' of type {} has a size without bounds", port.name, port.ty))
            .hint("bind its dimensions with --dim")
    })
}

/// Keywords of Rust up to edition 2024, strict and reserved, that are in lower case.
pub(super) const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// The type of an element; types that Rust lacks are their bits.
fn element(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::Bool => "bool",
        DType::I8 | DType::I4 => "i8",
        DType::I16 => "i16",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::U16 | DType::F16 | DType::BF16 => "u16",
        DType::U32 => "u32",
        DType::U64 => "u64",
        _ => "u8",
    }
}

/// A structure of fields.
pub(super) fn structure(
    name: &str,
    meaning: &str,
    derived: &str,
    fields: &[Field],
    reference: &str,
) -> String {
    if fields.is_empty() {
        return format!("/// Nothing.\n#[derive({derived})]\npub struct {name} {{}}\n");
    }
    let mut out = format!("/// {meaning}\n#[derive({derived})]\npub struct {name}<'a> {{\n");
    for field in fields {
        let _ = writeln!(out, "    /// {}\n    pub {}: {reference}{},", field.meaning, field.name, field.ty);
    }
    out.push_str("}\n");
    out
}

/// Pointers to the fields of the structure `of`.
pub(super) fn pointers(fields: &[Field], of: &str, method: &str) -> String {
    fields.iter().map(|f| format!("{of}.{}.{method}().cast()", f.name)).collect::<Vec<_>>().join(", ")
}
