//! Operators that are made by others.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, NEWEST_OPSET, NodeProto, Op, OpDef};

/// An operator with attributes, inputs of which some are left out, and so many outputs.
pub(super) fn operator(
    def: &OpDef,
    list: &[(&str, Attr)],
    inputs: &[bool],
    outputs: usize,
) -> Result<Arc<dyn Op>> {
    let mut attrs: Attrs = list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut node = NodeProto { attrs: &mut attrs, opset: NEWEST_OPSET, inputs, outputs };
    let op = (def.parse)(&mut node)?;
    if let Some(unknown) = attrs.keys().next() {
        return Err(Error::internal(format!("{} has no attribute '{unknown}'", def.name)));
    }
    Ok(Arc::from(op))
}
