//! ONNX's own text form of models, as `onnx.parser` reads it.
//!
//! ```text
//! model       ('<' property (',' property)* '>')? graph function*
//! function    '<' property (',' property)* '>' NAME ('<' parameter, .. '>')? '(' NAME, .. ')' '=>' '(' NAME, .. ')'
//!             ('<' values '>')? '{' node* '}'
//! parameter   NAME | NAME (':' NAME)? '=' attribute
//! property    ir_version ':' INT | opset_import ':' '[' TEXT ':' INT, .. ']' | NAME ':' INT | NAME ':' TEXT
//! graph       NAME '(' values ')' '=>' '(' values ')' ('<' values '>')? '{' node* '}'
//! value       type? NAME ('=' data)?
//! type        ELEMENT ('[' (INT | NAME | '?'), .. ']')?        a number without brackets, no shape with empty ones
//! node        ('[' TEXT ']')? NAME, .. '=' operator attributes? '(' NAME, .. ')' attributes?
//! operator    (NAME '.')* NAME
//! attributes  '<' NAME (':' NAME)? '=' attribute, .. '>'
//! attribute   INT | FLOAT | TEXT | '[' these ']' | ELEMENT dims? NAME? data | graph
//!             | '@' NAME                in a function, of a type that is told: the attribute of that name of the call
//! data        '{' number, .. '}'
//! ```
//!
//! Types other than tensors are not read.

mod cursor;
mod data;

use kiln_ir::errors::Result;
use kiln_ir::{Error, Limits};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::type_proto::{self, Value};
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
};
use protobuf::MessageField;

use super::document::Document;
use cursor::{Cursor, Token};

/// Graphs nest no deeper.
const MOST_DEPTH: usize = 32;

/// The operator set where a text names none.
const OPSET: i64 = 21;

/// Whether a text seems to be a model in this form: it begins with a header, or has an arrow.
pub fn is_text(text: &str) -> bool {
    text.trim_start().starts_with('<') || text.contains("=>")
}

/// The model of a text.
///
/// # Errors
///
/// *Invalid*, with line and column of what is wrong; what [`Document::from_bytes`] says of the model.
pub fn parse(text: &str) -> Result<Document> {
    let model = model(&mut Cursor::new(text)?)?;
    let bytes =
        model.write_to_bytes().map_err(|e| Error::internal(format!("the model cannot be encoded: {e}")))?;
    Document::from_bytes(&bytes, &Limits::default())
}

fn model(at: &mut Cursor) -> kiln_ir::Result<ModelProto> {
    let mut model = ModelProto { ir_version: 10, ..Default::default() };
    if at.eat("<") {
        while !at.eat(">") {
            property(at, &mut model)?;
            if !at.eat(",") {
                at.expect(">")?;
                break;
            }
        }
    }
    if model.opset_import.is_empty() {
        model.opset_import.push(OperatorSetIdProto { version: OPSET, ..Default::default() });
    }
    model.graph = MessageField::some(graph(at, 0)?);
    loop {
        match at.peek() {
            Token::End => return Ok(model),
            Token::Mark('<') => model.functions.push(function(at)?),
            _ => {
                return Err(
                    at.error("a function, which begins with '<', or the end is expected behind the graph")
                );
            }
        }
    }
}

/// A function of the model's own: the operator of its name and domain.
fn function(at: &mut Cursor) -> kiln_ir::Result<FunctionProto> {
    let mut head = ModelProto::default();
    at.expect("<")?;
    while !at.eat(">") {
        property(at, &mut head)?;
        if !at.eat(",") {
            at.expect(">")?;
            break;
        }
    }
    let ModelProto { domain, doc_string, opset_import, .. } = head;
    let mut function =
        FunctionProto { domain, doc_string, opset_import, name: at.name()?, ..Default::default() };
    if at.eat("<") {
        while !at.eat(">") {
            let name = at.name()?;
            let told = if at.eat(":") { Some(at.name()?) } else { None };
            // With a value a call need not give it.
            if at.eat("=") {
                function.attribute_proto.push(attribute(at, name, told.as_deref(), 0)?);
            } else {
                function.attribute.push(name);
            }
            if !at.eat(",") {
                at.expect(">")?;
                break;
            }
        }
    }
    at.expect("(")?;
    function.input = names(at, ")")?;
    at.expect("=>")?;
    at.expect("(")?;
    function.output = names(at, ")")?;
    if at.eat("<") {
        for (info, tensor) in values(at, ">")? {
            if tensor.is_some() {
                return Err(at.error(&format!("'{}': a function has no constants but nodes", info.name)));
            }
            function.value_info.push(info);
        }
    }
    at.expect("{")?;
    while !at.eat("}") {
        function.node.push(node(at, 0)?);
        at.eat(";");
    }
    Ok(function)
}

fn property(at: &mut Cursor, model: &mut ModelProto) -> kiln_ir::Result<()> {
    let name = at.name()?;
    at.expect(":")?;
    match &*name {
        "ir_version" => model.ir_version = at.int()?,
        "model_version" => model.model_version = at.int()?,
        "producer_name" => model.producer_name = at.text()?,
        "producer_version" => model.producer_version = at.text()?,
        "domain" => model.domain = at.text()?,
        "doc_string" => model.doc_string = at.text()?,
        "opset_import" => {
            at.expect("[")?;
            while !at.eat("]") {
                let domain = at.text()?;
                at.expect(":")?;
                model.opset_import.push(OperatorSetIdProto {
                    domain,
                    version: at.int()?,
                    ..Default::default()
                });
                if !at.eat(",") {
                    at.expect("]")?;
                    break;
                }
            }
        }
        "metadata_props" => {
            at.expect("[")?;
            while !at.eat("]") {
                at.text()?;
                at.expect(":")?;
                at.text()?;
                at.eat(",");
            }
        }
        other => return Err(at.error(&format!("a model has no property '{other}'"))),
    }
    Ok(())
}

fn graph(at: &mut Cursor, depth: usize) -> kiln_ir::Result<GraphProto> {
    if depth > MOST_DEPTH {
        return Err(at.error(&format!("graphs nest at most {MOST_DEPTH} deep")));
    }
    let mut graph = GraphProto { name: at.name()?, ..Default::default() };
    at.expect("(")?;
    let inputs = values(at, ")")?;
    at.expect("=>")?;
    at.expect("(")?;
    let outputs = values(at, ")")?;
    let inner = if at.eat("<") { values(at, ">")? } else { Vec::new() };
    for (info, tensor) in inputs {
        graph.input.push(info);
        graph.initializer.extend(tensor);
    }
    graph.output = outputs.into_iter().map(|(info, _)| info).collect();
    for (info, tensor) in inner {
        match tensor {
            Some(tensor) => graph.initializer.push(tensor),
            None => graph.value_info.push(info),
        }
    }
    at.expect("{")?;
    while !at.eat("}") {
        graph.node.push(node(at, depth)?);
        at.eat(";");
    }
    Ok(graph)
}

type Declared = (ValueInfoProto, Option<TensorProto>);

fn values(at: &mut Cursor, end: &str) -> kiln_ir::Result<Vec<Declared>> {
    let mut out = Vec::new();
    while !at.eat(end) {
        out.push(value(at)?);
        if !at.eat(",") {
            at.expect(end)?;
            break;
        }
    }
    Ok(out)
}

fn value(at: &mut Cursor) -> kiln_ir::Result<Declared> {
    let first = at.name()?;
    let Some(element) = data::element(&first) else {
        if matches!(at.peek(), Token::Mark('(')) {
            return Err(at.error(&format!("'{first}' is no tensor: other types are not read")));
        }
        // A value whose type is left to inference.
        return Ok((ValueInfoProto { name: first, ..Default::default() }, None));
    };
    let shape = shape(at)?;
    let name = at.name()?;
    let tensor = if at.eat("=") {
        let dims = shape.as_ref().and_then(known);
        let dims =
            dims.ok_or_else(|| at.error(&format!("the constant '{name}' needs a shape of numbers")))?;
        Some(data::tensor(at, &name, element, dims)?)
    } else {
        None
    };
    let shape = shape.map_or_else(MessageField::none, MessageField::some);
    let ty = type_proto::Tensor { elem_type: element, shape, ..Default::default() };
    let ty = TypeProto { value: Some(Value::TensorType(ty)), ..Default::default() };
    Ok((ValueInfoProto { name, type_: MessageField::some(ty), ..Default::default() }, tensor))
}

/// A shape; nothing where it is unknown.
fn shape(at: &mut Cursor) -> kiln_ir::Result<Option<TensorShapeProto>> {
    if !at.eat("[") {
        return Ok(Some(TensorShapeProto::default()));
    }
    if at.eat("]") {
        return Ok(None);
    }
    let mut dim = Vec::new();
    loop {
        let value = match at.peek().clone() {
            Token::Int(n) => {
                at.advance();
                Some(dimension::Value::DimValue(n))
            }
            Token::Mark('?') => {
                at.advance();
                None
            }
            _ => Some(dimension::Value::DimParam(at.name()?)),
        };
        dim.push(Dimension { value, ..Default::default() });
        if !at.eat(",") {
            at.expect("]")?;
            return Ok(Some(TensorShapeProto { dim, ..Default::default() }));
        }
    }
}

fn known(shape: &TensorShapeProto) -> Option<Vec<i64>> {
    let extent = |d: &Dimension| match d.value {
        Some(dimension::Value::DimValue(n)) if n >= 0 => Some(n),
        _ => None,
    };
    shape.dim.iter().map(extent).collect()
}

fn node(at: &mut Cursor, depth: usize) -> kiln_ir::Result<NodeProto> {
    let mut node = NodeProto::default();
    if at.eat("[") {
        node.name = at.text()?;
        at.expect("]")?;
    }
    node.output = names(at, "=")?;
    let mut operator = at.name()?;
    while at.eat(".") {
        let (domain, name) = (std::mem::take(&mut operator), at.name()?);
        node.domain = if node.domain.is_empty() { domain } else { format!("{}.{domain}", node.domain) };
        operator = name;
    }
    node.op_type = operator;
    if at.eat("<") {
        node.attribute = attributes(at, depth)?;
    }
    at.expect("(")?;
    node.input = names(at, ")")?;
    if at.eat("<") {
        node.attribute.extend(attributes(at, depth)?);
    }
    Ok(node)
}

/// Names up to `end`; those left out are empty.
fn names(at: &mut Cursor, end: &str) -> kiln_ir::Result<Vec<String>> {
    let mut out = Vec::new();
    loop {
        if at.eat(end) {
            return Ok(out);
        }
        let name = match at.peek().clone() {
            Token::Text(name) => {
                at.advance();
                name
            }
            Token::Mark(',') => String::new(),
            _ => at.name()?,
        };
        out.push(name);
        if !at.eat(",") {
            at.expect(end)?;
            return Ok(out);
        }
    }
}

fn attributes(at: &mut Cursor, depth: usize) -> kiln_ir::Result<Vec<AttributeProto>> {
    let mut out = Vec::new();
    while !at.eat(">") {
        let name = at.name()?;
        // The type may be told; the value says it too, but for floats without a point.
        let told = if at.eat(":") { Some(at.name()?) } else { None };
        at.expect("=")?;
        out.push(attribute(at, name, told.as_deref(), depth)?);
        if !at.eat(",") {
            at.expect(">")?;
            break;
        }
    }
    Ok(out)
}

fn attribute(
    at: &mut Cursor,
    name: String,
    told: Option<&str>,
    depth: usize,
) -> kiln_ir::Result<AttributeProto> {
    let mut out = AttributeProto { name, ..Default::default() };
    let kind = match at.peek().clone() {
        Token::Int(n) => {
            at.advance();
            out.i = n;
            AttributeType::INT
        }
        Token::Float(v) => {
            at.advance();
            out.f = v as f32;
            AttributeType::FLOAT
        }
        Token::Text(text) => {
            at.advance();
            out.s = text.into_bytes();
            AttributeType::STRING
        }
        Token::Mark('@') => {
            at.advance();
            out.ref_attr_name = at.name()?;
            let kind = told.and_then(kind).ok_or_else(|| {
                at.error(&format!("the type of '{}' is expected: {}: int = @..", out.name, out.name))
            })?;
            out.type_ = kind.into();
            return Ok(out);
        }
        Token::Mark('[') => {
            at.advance();
            list(at, &mut out)?
        }
        Token::Name(word) => match data::element(&word) {
            Some(element) => {
                at.advance();
                let shape = shape(at)?;
                let dims = shape.as_ref().and_then(known);
                let dims = dims.ok_or_else(|| at.error("a tensor needs a shape of numbers"))?;
                let name = if let Token::Name(name) = at.peek().clone() { name } else { String::new() };
                if !name.is_empty() {
                    at.advance();
                }
                at.eat("=");
                out.t = MessageField::some(data::tensor(at, &name, element, dims)?);
                AttributeType::TENSOR
            }
            None => {
                out.g = MessageField::some(graph(at, depth + 1)?);
                AttributeType::GRAPH
            }
        },
        _ => return Err(at.error("the value of an attribute is expected")),
    };
    let kind = match (told, kind) {
        (Some("float"), AttributeType::INT) => {
            out.f = out.i as f32;
            out.i = 0;
            AttributeType::FLOAT
        }
        (Some("floats"), AttributeType::INTS) => {
            out.floats = std::mem::take(&mut out.ints).into_iter().map(|n| n as f32).collect();
            AttributeType::FLOATS
        }
        (Some("floats"), _) if out.ints.is_empty() && out.floats.is_empty() => AttributeType::FLOATS,
        (Some("strings"), _) if out.strings.is_empty() => AttributeType::STRINGS,
        (_, kind) => kind,
    };
    out.type_ = kind.into();
    Ok(out)
}

/// The type of an attribute by its word.
fn kind(word: &str) -> Option<AttributeType> {
    Some(match word {
        "int" => AttributeType::INT,
        "ints" => AttributeType::INTS,
        "float" => AttributeType::FLOAT,
        "floats" => AttributeType::FLOATS,
        "string" => AttributeType::STRING,
        "strings" => AttributeType::STRINGS,
        "tensor" => AttributeType::TENSOR,
        "graph" => AttributeType::GRAPH,
        _ => return None,
    })
}

fn list(at: &mut Cursor, out: &mut AttributeProto) -> kiln_ir::Result<AttributeType> {
    let mut kind = AttributeType::INTS;
    while !at.eat("]") {
        match at.peek().clone() {
            Token::Int(n) if kind == AttributeType::FLOATS => out.floats.push(n as f32),
            Token::Int(n) => out.ints.push(n),
            Token::Float(v) => {
                out.floats.extend(std::mem::take(&mut out.ints).into_iter().map(|n| n as f32));
                out.floats.push(v as f32);
                kind = AttributeType::FLOATS;
            }
            Token::Text(text) => {
                out.strings.push(text.into_bytes());
                kind = AttributeType::STRINGS;
            }
            _ => return Err(at.error("a list of numbers or of texts is expected")),
        }
        at.advance();
        if !at.eat(",") {
            at.expect("]")?;
            break;
        }
    }
    let kinds = [!out.ints.is_empty() || !out.floats.is_empty(), !out.strings.is_empty()];
    if kinds == [true, true] {
        return Err(at.error("a list holds numbers or texts, not both"));
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let document = parse(text).unwrap();
        crate::from_bytes(&document.to_bytes().unwrap(), None, &Limits::default()).unwrap().to_string()
    }

    #[test]
    fn a_model_as_the_specification_writes_it() {
        let text = r#"<
          ir_version: 7,
          opset_import: ["" : 17, "com.microsoft": 1]
        >
        agraph (float[N, 4] X, float[4, 3] W) => (float[N, 3] C)
        <float[3] B = {1, 2.5, -3}, float[N, 3] T>
        {
            # the product
            T = MatMul(X, W)
            S = Add(T, B)
            ["last"] C = Softmax<axis: int = -1>(S)
        }"#;
        let graph = shown(text);
        for part in [
            "graph @agraph opset(17, \"com.microsoft\" = 1)",
            "const @B: f32[3] = [1.0, 2.5, -3.0]",
            "= MatMul(%X, %W)",
            "Softmax(%S)",
            "\"last\"",
        ] {
            assert!(graph.contains(part), "{part}: {graph}");
        }
    }

    #[test]
    fn attributes_of_every_kind() {
        let graph = shown(
            "g (float[1, 2, 4, 4] x) => (y, z) {
               a = Conv<strides = [1, 1], auto_pad = \"SAME_UPPER\">(x, w)
               w = Constant<value = float[2, 2, 1, 1] {1, 0, 0, 1}>()
               b = LeakyRelu<alpha: float = 1>(a)
               y = Clip(b, , hi)
               hi = Constant<value_float = 6.0>()
               z = com.microsoft.Gelu(x)
            }"
            .replace("g (", "<opset_import: [\"\": 17, \"com.microsoft\": 1]> g (")
            .as_str(),
        );
        for part in ["alpha = 1.0", "Clip(%b, _, ", "com.microsoft::Gelu(%x)"] {
            assert!(graph.contains(part), "{part}: {graph}");
        }
    }

    #[test]
    fn subgraphs_are_attributes() {
        let document = parse(
            "g (bool c, float[2] x) => (float[2] y) {
               y = If(c) <then_branch = t () => (float[2] a) { a = Relu(x) },
                          else_branch = e () => (float[2] b) { b = Neg(x) }>
            }",
        );
        let document = document.unwrap();
        assert!(document.nodes()[0].captured().any(|name| name == "x"));
    }

    #[test]
    fn functions_are_operators_of_the_model() {
        let graph = shown(
            r#"<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
            g (float[2, 3] x) => (float[2, 3] z) {
               y = own.scaled<alpha = 0.5>(x)
               z = own.twice(y)
            }
            <domain: "own", opset_import: ["" : 17, "own" : 1]>
            scaled <alpha, axis: int = 1> (a) => (b) {
               s = LeakyRelu<alpha: float = @alpha>(a)
               b = Softmax<axis: int = @axis>(s)
            }
            <domain: "own", opset_import: ["" : 17]>
            twice (a) => (b) { b = Add(a, a) }"#,
        );
        for part in ["alpha = 0.5", "Softmax(", "Add("] {
            assert!(graph.contains(part), "{part}: {graph}");
        }
    }

    #[test]
    fn mistakes_have_line_and_column() {
        for (text, part) in [
            ("g (float[2] x) => (float[2] y) {\n  y = Relu(x\n}", "3:1"),
            ("g (float[2] x) = (float[2] y) { }", "1:16"),
            ("g (float[2] x) => (float[2] y) { y = F<a = @b>(x) }", "the type of 'a' is expected"),
            ("g (seq(float[2]) x) => (float[2] y) { }", "is no tensor"),
            ("g (float[2] x) => (float[2] y) <float[2] w = {1}> { }", "2 elements"),
            ("<speed: 1> g () => () { }", "no property 'speed'"),
            ("g () => () { } f", "a function, which begins with '<'"),
            ("g () => () { } <domain: \"a\"> f (x) => (y) { y = Relu(x }", "1:56"),
            ("g () => () { \"", "quote"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let mut deep = "x = If(c) <t = g () => () {".repeat(1000);
        deep.insert_str(0, "g () => () {");
        assert!(parse(&deep).unwrap_err().to_string().contains("deep"));
    }
}
