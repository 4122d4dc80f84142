//! `TypeProto` to facts.

use kiln_ir::limits::MAX_EXTENT;
use kiln_ir::{DType, Dim, Fact, Result, Shape, bail_invalid, bail_unsupported};
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::type_proto::Value;
use onnx_protobuf::{TypeProto, ValueInfoProto};

/// The fact of a graph's argument. An axis without a name, called `?`, or of extent 0 or -1, becomes the symbol
/// `NAME.AXIS`: exporters write these for an extent that they do not know.
pub(super) fn input(info: &ValueInfoProto) -> Result<Fact> {
    let Some(ty) = info.type_.as_ref() else { bail_invalid!("input '{}' has no type", info.name) };
    match fact(&info.name, ty, true) {
        Ok(Some(fact)) => Ok(fact),
        Ok(None) => bail_unsupported!("input '{}' has no shape, which is not supported", info.name),
        Err(mut e) => {
            e.message = format!("input '{}': {}", info.name, e.message);
            Err(e)
        }
    }
}

/// Whether a value is declared to be a sequence.
pub(super) fn is_sequence(info: &ValueInfoProto) -> bool {
    matches!(info.type_.as_ref().and_then(|t| t.value.as_ref()), Some(Value::SequenceType(_)))
}

/// What the model declares of a result or an intermediate value; `None` where it declares no shape.
pub(super) fn declared(info: &ValueInfoProto) -> Result<Option<Fact>> {
    let Some(ty) = info.type_.as_ref().filter(|t| t.value.is_some()) else { return Ok(None) };
    fact(&info.name, ty, false).map_err(|mut e| {
        e.message = format!("value '{}': {}", info.name, e.message);
        e
    })
}

fn fact(name: &str, ty: &TypeProto, is_input: bool) -> Result<Option<Fact>> {
    let tensor = match &ty.value {
        Some(Value::TensorType(tensor)) => tensor,
        Some(Value::SequenceType(_)) => bail_unsupported!("sequences are not supported"),
        Some(Value::MapType(_)) => bail_unsupported!("maps are not supported"),
        Some(Value::OptionalType(_)) => bail_unsupported!("optional values are not supported"),
        Some(Value::SparseTensorType(_)) => bail_unsupported!("sparse tensors as values are not supported"),
        Some(_) => bail_unsupported!("values of an unknown kind are not supported"),
        None => bail_invalid!("has no type"),
    };
    let dtype = DType::from_onnx(tensor.elem_type)?;
    if dtype == DType::String {
        bail_unsupported!("tensors of strings are not supported");
    }
    let Some(shape) = tensor.shape.as_ref() else { return Ok(None) };
    let dims = shape.dim.iter().enumerate().map(|(axis, dim)| extent(name, axis, dim, is_input));
    Ok(Some(Fact::new(dtype, dims.collect::<Result<Shape>>()?)))
}

fn extent(name: &str, axis: usize, dim: &Dimension, is_input: bool) -> Result<Dim> {
    let unnamed = || Dim::symbol(&format!("{name}.{axis}"));
    Ok(match &dim.value {
        Some(dimension::Value::DimValue(0)) if is_input => unnamed(),
        Some(dimension::Value::DimValue(-1)) => unnamed(),
        Some(dimension::Value::DimValue(v @ 0..=MAX_EXTENT)) => Dim::Const(*v),
        Some(dimension::Value::DimValue(v)) => bail_invalid!("axis {axis} has the extent {v}"),
        // A question mark is no name: two of them need not be the same.
        Some(dimension::Value::DimParam(param)) if !param.is_empty() && param != "?" => Dim::symbol(param),
        _ => unnamed(),
    })
}
