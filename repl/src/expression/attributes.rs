//! Attributes of operators: what is written as what the operator reads, and which there are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use kiln_ir::op::NEWEST_OPSET;
use kiln_ir::{Attr, Attrs, DType, Error, NodeProto, Op, OpDef, Tensor};

use super::constant::{self, Scope};
use super::literal::Literal;
use super::suggest;
use crate::fault::{Fault, Result};
use crate::text::ast::{Expr, Kind, Named};

/// Every name of an attribute that an operator of ONNX or of `com.microsoft` has.
const NAMES: &[&str] = &[
    "accuracy_level",
    "activation",
    "activation_alpha",
    "activation_beta",
    "activation_params",
    "activations",
    "align_corners",
    "allowzero",
    "alpha",
    "antialias",
    "approximate",
    "auto_pad",
    "axes",
    "axis",
    "batch_axis",
    "batch_dims",
    "beta",
    "bias",
    "bits",
    "block_size",
    "blocked_axis",
    "blocksize",
    "causal",
    "ceil_mode",
    "center_point_box",
    "channels_last",
    "coordinate_transformation_mode",
    "count_include_pad",
    "cubic_coeff_a",
    "detect_negative",
    "detect_positive",
    "dilations",
    "direction",
    "do_rotary",
    "dtype",
    "else_branch",
    "end",
    "epsilon",
    "equation",
    "exclude_outside",
    "exclusive",
    "extrapolation_value",
    "fmod",
    "gamma",
    "group",
    "high",
    "ignore_index",
    "interleaved",
    "inverse",
    "is_causal",
    "is_packed_batching",
    "K",
    "keep_aspect_ratio_policy",
    "keepdims",
    "kernel_shape",
    "k",
    "kv_num_heads",
    "lambd",
    "largest",
    "local_window_size",
    "low",
    "mask_filter_value",
    "max_position",
    "max",
    "mean",
    "min",
    "mode",
    "momentum",
    "N",
    "nearest_mode",
    "noop_with_empty_axes",
    "normalize_variance",
    "num_groups",
    "num_heads",
    "num_outputs",
    "onesided",
    "output_datatype",
    "output_dtype",
    "output_height",
    "output_padding",
    "output_shape",
    "p",
    "pads",
    "paddings",
    "periodic",
    "perm",
    "pooled_shape",
    "precision",
    "q_num_heads",
    "qk_matmul_output_mode",
    "ratio",
    "reduction",
    "reverse",
    "rotary_embedding_dim",
    "saturate",
    "scale",
    "scales",
    "seed",
    "select_last_index",
    "shape",
    "size",
    "smooth_softmax",
    "softcap",
    "softmax_precision",
    "sorted",
    "spatial",
    "split",
    "start",
    "starts",
    "ends",
    "stash_type",
    "storage_order",
    "strides",
    "then_branch",
    "time_axis",
    "to",
    "transA",
    "transB",
    "transBatchA",
    "transBatchB",
    "training_mode",
    "unidirectional",
    "upper",
    "value",
    "value_float",
    "value_floats",
    "value_int",
    "value_ints",
    "value_string",
    "width_scale",
    "zero_point",
];

/// Attributes that number an element type.
const TYPES: &[&str] =
    &["to", "dtype", "output_dtype", "output_datatype", "stash_type", "softmax_precision", "precision"];

/// Reads an operator with what is written behind its operands.
pub(crate) fn read(
    def: &OpDef,
    named: &[Named],
    inputs: &[bool],
    outputs: usize,
    scope: &dyn Scope,
    span: &Range<usize>,
) -> Result<Box<dyn Op>> {
    let mut given: BTreeMap<&str, (Attr, &Named)> = BTreeMap::new();
    for one in named {
        if given.insert(&one.name, (attribute(one, scope)?, one)).is_some() {
            return Err(Fault::at(one.span.clone(), format!("'{}' is given twice", one.name)));
        }
    }
    // As many parts as there are names for them.
    let parts =
        def.name == "Split" && !inputs.get(1).is_some_and(|p| *p) && !given.contains_key("num_outputs");
    loop {
        let mut attrs: Attrs =
            given.iter().map(|(name, (attr, _))| ((*name).to_owned(), attr.clone())).collect();
        if parts {
            attrs.insert("num_outputs".to_owned(), Attr::Int(outputs as i64));
        }
        let mut proto = NodeProto { attrs: &mut attrs, opset: NEWEST_OPSET, inputs, outputs };
        let read = (def.parse)(&mut proto);
        match read {
            Ok(op) => {
                let Some(unknown) = attrs.keys().next() else { return Ok(op) };
                let at = given.get(&**unknown).map_or(span, |(_, one)| &one.span);
                let known = of(def);
                let fault = Fault::at(at.clone(), format!("{} has no attribute '{unknown}'", def.name));
                let near = suggest::hint(unknown, known.iter().map(String::as_str));
                let list = if known.is_empty() {
                    "it has none".into()
                } else {
                    format!("it has {}", known.join(", "))
                };
                return Err(fault.hint(if near.is_empty() { list } else { near }));
            }
            Err(error) => {
                let about =
                    given.iter_mut().find(|(name, _)| error.message.contains(&format!("attribute '{name}'")));
                let Some((_, (attr, one))) = about else { return Err(Fault::from(error).within(span)) };
                match wanted(&error, attr, one) {
                    Some(other) => *attr = other,
                    None => return Err(Fault::from(error).within(&one.value.span)),
                }
            }
        }
    }
}

/// An attribute as it is written: integers, floats, texts, lists of these, names of types, tensors.
fn attribute(named: &Named, scope: &dyn Scope) -> Result<Attr> {
    let value = &named.value;
    let wrong = || Fault::at(value.span.clone(), "an attribute is a number, a text, or a list of them");
    if TYPES.contains(&&*named.name) && matches!(value.kind, Kind::Name(_) | Kind::Text(_)) {
        return Ok(Attr::Int(i64::from(constant::dtype(value)?.to_onnx())));
    }
    match &value.kind {
        Kind::Text(text) => return Ok(Attr::Str(text.clone())),
        Kind::List(list) if !list.is_empty() && list.iter().all(|e| matches!(e.kind, Kind::Text(_))) => {
            return Ok(Attr::Strs(list.iter().filter_map(text_of).collect()));
        }
        Kind::Name(name) => {
            let unknown = || {
                let near = suggest::hint(name, scope.names());
                Fault::at(value.span.clone(), format!("there is no '{name}'")).hint(near)
            };
            let tensor = scope.variable(name).ok_or_else(unknown)?;
            return Ok(of_tensor(tensor));
        }
        _ => {}
    }
    if let Some(literal) = Literal::of(value)? {
        let ints = literal.ints().filter(|_| !literal.is_float());
        return match (ints, literal.floats()) {
            (Some(ints), _) if literal.is_scalar() => Ok(Attr::Int(ints[0])),
            (Some(ints), _) => Ok(Attr::Ints(ints)),
            (None, Some(floats)) if literal.is_scalar() => Ok(Attr::Float(floats[0])),
            (None, Some(floats)) => Ok(Attr::Floats(floats)),
            (None, None) => Ok(Attr::Tensor(literal.tensor(literal.natural())?)),
        };
    }
    match (&value.kind, constant::ints(value, scope)) {
        (Kind::List(_), Some(ints)) => Ok(Attr::Ints(ints)),
        (_, Some(ints)) if ints.len() == 1 => Ok(Attr::Int(ints[0])),
        _ => Err(wrong()),
    }
}

fn text_of(expr: &Expr) -> Option<String> {
    if let Kind::Text(text) = &expr.kind { Some(text.clone()) } else { None }
}

/// What a variable is as an attribute.
fn of_tensor(tensor: &Tensor) -> Attr {
    if tensor.dtype.is_int()
        && tensor.shape.len() <= 1
        && let Ok(ints) = tensor.to_i64s()
    {
        return if tensor.shape.is_empty() { Attr::Int(ints[0]) } else { Attr::Ints(ints) };
    }
    Attr::Tensor(tensor.clone())
}

/// The attribute in the form that an operator's complaint asks for, unless it has that already or cannot have it.
fn wanted(error: &Error, attr: &Attr, named: &Named) -> Option<Attr> {
    let says = |what: &str| error.message.contains(&format!("must be {what},"));
    let tensor = |dtype: Option<DType>| {
        let literal = Literal::of(&named.value).ok().flatten()?;
        literal.tensor(dtype.unwrap_or(literal.natural())).ok()
    };
    match attr {
        Attr::Int(n) if says("a float") => Some(Attr::Float(*n as f32)),
        Attr::Int(n) if says("a list of integers") => Some(Attr::Ints(vec![*n])),
        Attr::Int(n) if says("a list of floats") => Some(Attr::Floats(vec![*n as f32])),
        Attr::Float(v) if says("a list of floats") => Some(Attr::Floats(vec![*v])),
        Attr::Ints(list) if says("a list of floats") => {
            Some(Attr::Floats(list.iter().map(|n| *n as f32).collect()))
        }
        Attr::Int(_) | Attr::Float(_) | Attr::Ints(_) | Attr::Floats(_) if says("a tensor") => {
            tensor(None).map(Attr::Tensor)
        }
        Attr::Str(name) if says("an integer") => {
            constant::dtype_of(name).map(|d| Attr::Int(i64::from(d.to_onnx())))
        }
        Attr::Ints(list) if says("an integer") && list.len() == 1 => Some(Attr::Int(list[0])),
        _ => None,
    }
}

/// Names of attributes that an operator reads, found by letting it read all names that there are.
pub(crate) fn of(def: &OpDef) -> Vec<String> {
    static KNOWN: Mutex<BTreeMap<(&str, &str), Vec<String>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry((def.domain, def.name)).or_insert_with(|| probe(def)).clone()
}

fn probe(def: &OpDef) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for operands in 1..=8 {
        let inputs = vec![true; operands];
        // What is read before an operator complains is known to it; the next round gives what it asked for.
        let mut values: BTreeMap<&str, Attr> = NAMES.iter().map(|name| (*name, Attr::Int(1))).collect();
        for _ in 0..NAMES.len() {
            let mut attrs: Attrs =
                values.iter().map(|(name, attr)| ((*name).to_owned(), attr.clone())).collect();
            let mut proto = NodeProto { attrs: &mut attrs, opset: NEWEST_OPSET, inputs: &inputs, outputs: 1 };
            let read = (def.parse)(&mut proto).map(|_| ());
            let taken = NAMES.iter().filter(|name| !attrs.contains_key(**name));
            found.extend(taken.map(|name| (*name).to_owned()));
            let Err(error) = read else { break };
            let about =
                values.iter_mut().find(|(name, _)| error.message.contains(&format!("attribute '{name}'")));
            let Some((_, attr)) = about else { break };
            let next = [
                ("a float", Attr::Float(1.0)),
                ("a list of integers", Attr::Ints(vec![1, 1])),
                ("a list of floats", Attr::Floats(vec![1.0])),
                ("a string", Attr::Str("NOTSET".to_owned())),
                ("a tensor", Attr::Tensor(Tensor::scalar(1.0f32))),
            ];
            let Some((_, next)) =
                next.into_iter().find(|(what, _)| error.message.contains(&format!("must be {what},")))
            else {
                break;
            };
            *attr = next;
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_ir::ops;

    #[test]
    fn operators_tell_their_attributes() {
        let names = |op: &str| of(ops::find("", op).unwrap());
        assert_eq!(names("Relu"), [""; 0]);
        assert_eq!(names("Softmax"), ["axis"]);
        let conv = names("Conv");
        for name in ["dilations", "group", "pads", "strides", "auto_pad"] {
            assert!(conv.iter().any(|n| n == name), "{name}: {conv:?}");
        }
        assert!(names("LeakyRelu").contains(&"alpha".to_owned()));
        assert!(names("Cast").contains(&"to".to_owned()));
    }

    /// The texts by which `wanted` knows the form that an operator reads.
    #[test]
    fn complaints_name_the_form() {
        let def = ops::find("", "LeakyRelu").unwrap();
        let mut attrs = Attrs::from([("alpha".to_owned(), Attr::Int(1))]);
        let mut proto = NodeProto { attrs: &mut attrs, opset: NEWEST_OPSET, inputs: &[true], outputs: 1 };
        let error = (def.parse)(&mut proto).unwrap_err();
        assert!(error.message.contains("attribute 'alpha' must be a float,"), "{error}");
    }
}
