//! Nodes of opsets before 7, said as later ones say them: operators know those alone.

use kiln_ir::{Attr, Attrs, Error, Result, bail_invalid, ops};

/// The oldest opset whose nodes need nothing of this.
const FIRST_OF_TODAY: i64 = 7;

/// Rewrites the attributes of a node of the default domain in `opset`.
pub(super) fn modernise(op_type: &str, opset: i64, attrs: &mut Attrs) -> Result<()> {
    if opset >= FIRST_OF_TODAY {
        return Ok(());
    }
    // A hint which inputs may be overwritten.
    if opset < 6 {
        attrs.remove("consumed_inputs");
    }
    match op_type {
        "Add" | "And" | "Div" | "Equal" | "Greater" | "Less" | "Mul" | "Or" | "Pow" | "Sub" | "Xor" => {
            let axis = take_int(attrs, "axis")?;
            if take_int(attrs, "broadcast")?.unwrap_or(0) != 0
                && let Some(axis) = axis
            {
                attrs.insert(ops::ALIGNED_AXIS.into(), Attr::Int(axis));
            }
        }
        // A vector of slopes has one of each channel.
        "PRelu" => _ = attrs.insert(ops::ALIGNED_AXIS.into(), Attr::Int(1)),
        // The addend broadcasts in any case.
        "Gemm" => _ = take_int(attrs, "broadcast")?,
        "BatchNormalization" | "Dropout" => inference(attrs)?,
        "Concat" if opset < 4 => _ = attrs.entry("axis".into()).or_insert(Attr::Int(1)),
        "Pad" if opset < 2 => {
            if let Some(pads) = attrs.remove("paddings") {
                attrs.insert("pads".into(), pads);
            }
        }
        "Selu" if opset < 6 => {
            attrs.entry("alpha".into()).or_insert(Attr::Float(1.6732));
            attrs.entry("gamma".into()).or_insert(Attr::Float(1.0507));
        }
        "Cast" if opset < 6 => {
            if let Some(Attr::Str(name)) = attrs.get("to") {
                let number = element_type(name)
                    .ok_or_else(|| Error::invalid(format!("attribute 'to' names no type: '{name}'")))?;
                attrs.insert("to".into(), Attr::Int(number));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Refuses a node that trains.
fn inference(attrs: &mut Attrs) -> Result<()> {
    match take_int(attrs, "is_test")? {
        None | Some(0) => Err(Error::unsupported("training mode ('is_test' = 0) is not supported")
            .hint("export the model for inference")),
        Some(_) => Ok(()),
    }
}

fn take_int(attrs: &mut Attrs, name: &str) -> Result<Option<i64>> {
    match attrs.remove(name) {
        None => Ok(None),
        Some(Attr::Int(value)) => Ok(Some(value)),
        Some(other) => bail_invalid!("attribute '{name}' must be an integer, found {other:?}"),
    }
}

/// The number of a type that goes by its name in `TensorProto`.
fn element_type(name: &str) -> Option<i64> {
    let names = [
        "FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING", "BOOL", "FLOAT16", "DOUBLE",
        "UINT32", "UINT64",
    ];
    names.iter().position(|n| n.eq_ignore_ascii_case(name)).map(|i| i as i64 + 1)
}
