//! The operators: one file each; this is the list.

mod broadcast;
mod elements;
mod operand;

use crate::op::OpDef;

/// Every operator, sorted by domain and name.
pub static OPS: &[OpDef] = &[];

/// The definition of an operator.
pub fn find(domain: &str, name: &str) -> Option<&'static OpDef> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    OPS.iter().find(|def| def.domain == domain && def.name == name)
}
