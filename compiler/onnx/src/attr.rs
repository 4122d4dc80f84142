//! `AttributeProto` to attributes.

use kiln_ir::{Attr, Error, Result, bail_invalid, bail_unsupported};
use onnx_protobuf::AttributeProto;
use onnx_protobuf::attribute_proto::AttributeType;

use super::tensor::Tensors;

/// The kind of an attribute. Files older than the `type` field tell it by the field in use.
pub(super) fn kind(proto: &AttributeProto) -> Result<AttributeType> {
    let Ok(kind) = proto.type_.enum_value() else {
        bail_invalid!("attribute '{}' has the unknown type {}", proto.name, proto.type_.value());
    };
    if kind != AttributeType::UNDEFINED {
        return Ok(kind);
    }
    let used = [
        (!proto.ints.is_empty(), AttributeType::INTS),
        (!proto.floats.is_empty(), AttributeType::FLOATS),
        (!proto.strings.is_empty(), AttributeType::STRINGS),
        (!proto.s.is_empty(), AttributeType::STRING),
        (proto.t.is_some(), AttributeType::TENSOR),
        (proto.g.is_some(), AttributeType::GRAPH),
        (proto.i != 0, AttributeType::INT),
        (proto.f != 0.0, AttributeType::FLOAT),
    ];
    let mut used = used.into_iter().filter(|(is, _)| *is).map(|(_, kind)| kind);
    match (used.next(), used.next()) {
        (Some(kind), None) => Ok(kind),
        _ => bail_invalid!("attribute '{}' has no type", proto.name),
    }
}

/// Reads an attribute that is no graph.
pub(super) fn read(proto: &mut AttributeProto, tensors: &mut Tensors) -> Result<Attr> {
    let name = &proto.name;
    Ok(match kind(proto)? {
        AttributeType::FLOAT => Attr::Float(proto.f),
        AttributeType::INT => Attr::Int(proto.i),
        AttributeType::STRING => Attr::Str(text(name, &proto.s)?),
        AttributeType::FLOATS => Attr::Floats(std::mem::take(&mut proto.floats)),
        AttributeType::INTS => Attr::Ints(std::mem::take(&mut proto.ints)),
        AttributeType::STRINGS => {
            Attr::Strs(proto.strings.iter().map(|s| text(name, s)).collect::<Result<_>>()?)
        }
        AttributeType::TENSOR => {
            let Some(tensor) = proto.t.take() else { bail_invalid!("attribute '{name}' has no tensor") };
            Attr::Tensor(tensors.dense(tensor).map_err(|e| in_attribute(name, e))?)
        }
        AttributeType::SPARSE_TENSOR => {
            let Some(tensor) = proto.sparse_tensor.take() else {
                bail_invalid!("attribute '{name}' has no tensor")
            };
            Attr::Tensor(tensors.sparse(tensor).map_err(|e| in_attribute(name, e))?)
        }
        AttributeType::TENSORS | AttributeType::SPARSE_TENSORS => {
            bail_unsupported!("attribute '{name}' is a list of tensors, which is not supported")
        }
        AttributeType::GRAPHS => {
            bail_unsupported!("attribute '{name}' is a list of graphs, which is not supported")
        }
        AttributeType::TYPE_PROTO | AttributeType::TYPE_PROTOS => {
            bail_unsupported!("attribute '{name}' is a type, which is not supported")
        }
        AttributeType::GRAPH | AttributeType::UNDEFINED => {
            return Err(Error::internal(format!("attribute '{name}' has no value to read")));
        }
    })
}

fn in_attribute(name: &str, mut error: Error) -> Error {
    error.message = format!("attribute '{name}': {}", error.message);
    error
}

fn text(name: &str, bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Error::invalid(format!("attribute '{name}' is not UTF-8 text")))
}
