//! Text of graphs; [`parse`](super::parse) reads it back.
//!
//! ```text
//! graph @mobilenet_v2 opset(17) {
//!   dim batch = 1..8
//!   input %x: f32[batch, 3, 224, 224]
//!   const @w: f32[32, 3, 3, 3] = splat 0.5
//!   %y: f32[batch, 32, 112, 112] = Conv(%x, @w, _) {strides = [2, 2], pads = [1, 1, 1, 1]} "node name"
//!   output %y
//! }
//! ```
//!
//! `_` is an input left out. Operators of other domains are written `com.microsoft::Gelu`. Elements that inference
//! knows follow the type: `%s: i64[2] as dims [batch, 3]`. An output whose name differs from its value's: `output %y
//! as "scores"`.

use std::fmt::{self, Write as _};

use super::{Graph, NodeId, Source, ValueId};
use crate::kernel::Scalar;
use crate::op::{Attr, Fact, Known};
use crate::text::{
    bounds_text, is_identifier, join, literal_text, name_text, tensor_text, typed_tensor_text,
};

impl PartialEq for Graph {
    /// Equality of the text form.
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&graph_text(self, "", false))
    }
}

/// A graph's text with `...` in place of long constants: for people.
pub struct Summary<'a>(&'a Graph);

impl Graph {
    /// The graph for people to read: long constants are left out.
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&graph_text(self.0, "", true))
    }
}

/// A graph whose lines after the first start with `indent`.
fn graph_text(g: &Graph, indent: &str, elide: bool) -> String {
    let inner = format!("{indent}  ");
    let opsets = g.opsets.iter().map(|(domain, version)| match domain.as_str() {
        "" => version.to_string(),
        _ => format!("{domain:?} = {version}"),
    });
    let mut out = format!("graph {} opset({}) {{\n", name_text('@', &g.name), join(opsets));
    out += &bounds_text("dim", &g.bounds, &inner);
    out += &bounds_text("count", &g.counted, &inner);
    for &id in g.inputs() {
        let _ = writeln!(out, "{inner}input {}", typed_value_text(g, id, elide));
    }
    for (id, value) in g.values() {
        if let Source::Const(tensor) = &value.source {
            let (ty, elements) = (tensor.ty(), tensor_text(tensor, elide));
            let _ = writeln!(out, "{inner}const {}: {ty} = {elements}", value_text(g, id));
        }
    }
    // A graph with a cycle has no such order, and must be seen nevertheless.
    let order = g.topological_order().unwrap_or_else(|_| g.node_ids().collect());
    for id in order {
        let _ = writeln!(out, "{inner}{}", node_text(g, id, &inner, elide));
    }
    for (&id, name) in g.outputs().iter().zip(g.output_names()) {
        let renamed = if g.value(id).name == *name { String::new() } else { format!(" as {name:?}") };
        let _ = writeln!(out, "{inner}output {}{renamed}", value_text(g, id));
    }
    let _ = write!(out, "{indent}}}");
    out
}

/// A node's line.
pub(super) fn node_text(g: &Graph, id: NodeId, indent: &str, elide: bool) -> String {
    let node = g.node(id);
    let mut out = join(node.outputs.iter().map(|&v| typed_value_text(g, v, elide)));
    let domain = node.op.domain();
    let prefix = match domain.split('.').all(is_identifier) {
        _ if domain.is_empty() => String::new(),
        true => format!("{domain}::"),
        false => format!("{domain:?}::"),
    };
    let inputs = join(node.inputs.iter().map(|v| v.map_or("_".to_owned(), |v| value_text(g, v))));
    let _ = write!(out, " = {prefix}{}({inputs})", node.op.name());
    let attrs = node.op.attrs();
    if !attrs.is_empty() {
        let attr = |(name, value): (&String, &Attr)| {
            let name = if is_identifier(name) { name.clone() } else { format!("{name:?}") };
            format!("{name} = {}", attr_text(value, indent, elide))
        };
        let _ = write!(out, " {{{}}}", join(attrs.iter().map(attr)));
    }
    let _ = write!(out, " {:?}", node.name);
    out
}

/// `%name`, or `@name` for constants.
fn value_text(g: &Graph, id: ValueId) -> String {
    if !g.has(id) {
        return "%removed".to_owned();
    }
    let value = g.value(id);
    name_text(if matches!(value.source, Source::Const(_)) { '@' } else { '%' }, &value.name)
}

/// `%name: f32[2]`, with the elements where they are known.
fn typed_value_text(g: &Graph, id: ValueId, elide: bool) -> String {
    let fact = g.value(id).fact.as_ref().map_or(String::new(), |f| format!(": {}", fact_text(f, elide)));
    format!("{}{fact}", value_text(g, id))
}

fn fact_text(fact: &Fact, elide: bool) -> String {
    match &fact.known {
        None => fact.ty().to_string(),
        Some(Known::Dims(dims)) => format!("{} as dims [{}]", fact.ty(), join(dims)),
        Some(Known::Tensor(t)) if t.ty() == fact.ty() => {
            format!("{} as {}", fact.ty(), tensor_text(t, elide))
        }
        Some(Known::Tensor(t)) => format!("{} as tensor {}", fact.ty(), typed_tensor_text(t, elide)),
    }
}

fn attr_text(attr: &Attr, indent: &str, elide: bool) -> String {
    // An empty list needs its type.
    let list = |word: &str, items: String| {
        if items.is_empty() { format!("{word} []") } else { format!("[{items}]") }
    };
    match attr {
        Attr::Int(v) => v.to_string(),
        Attr::Float(v) => literal_text(Scalar::f32(*v)),
        Attr::Str(v) => format!("{v:?}"),
        Attr::Tensor(t) => format!("tensor {}", typed_tensor_text(t, elide)),
        Attr::Ints(v) => list("ints", join(v)),
        Attr::Floats(v) => list("floats", join(v.iter().map(|v| literal_text(Scalar::f32(*v))))),
        Attr::Strs(v) => list("strs", join(v.iter().map(|v| format!("{v:?}")))),
        Attr::Graph(g) => graph_text(g, indent, elide),
    }
}
