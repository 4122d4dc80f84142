//! Operator sets that a model or a function imports.

use std::collections::BTreeMap;

use kiln_ir::{Result, bail_invalid};
use onnx_protobuf::OperatorSetIdProto;

/// Operator set versions by domain, the default domain under the empty name.
pub(super) type Opsets = BTreeMap<String, i64>;

/// Opset imports of a model or a function.
pub(super) fn read(imports: &[OperatorSetIdProto]) -> Result<Opsets> {
    let mut opsets = Opsets::new();
    for import in imports {
        let domain = domain(&import.domain);
        if import.version < 1 {
            bail_invalid!("version {} of operator set '{domain}' does not exist", import.version);
        }
        // Converters write the same import twice; two versions of one set contradict each other.
        match opsets.insert(domain.to_owned(), import.version) {
            Some(other) if other != import.version => {
                bail_invalid!(
                    "operator set '{domain}' is imported twice, as version {other} and {}",
                    import.version
                );
            }
            _ => {}
        }
    }
    Ok(opsets)
}

/// A domain by its one name: the default one has two.
pub(super) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}
