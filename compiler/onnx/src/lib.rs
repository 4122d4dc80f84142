//! ONNX files to graphs, and to documents that are changed and written again. Nothing outside this crate reads protobuf.
//!
//! A model file is untrusted. `wire` checks the bytes before the decoder sees them, `tensor` and
//! `external` check every size before memory is taken, `graph` checks names, and everything that is wrong
//! or unsupported is reported at once.

mod attr;
mod document;
mod early;
mod external;
mod file;
mod function;
mod graph;
mod mapped;
mod model;
mod opsets;
mod order;
mod outline;
mod report;
mod tensor;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod types;
mod wire;

use std::io::{BufRead, Cursor, Seek};
use std::path::{Path, PathBuf};

use kiln_ir::errors::Result;
use kiln_ir::graph::Graph;
use kiln_ir::{Error, Limits, Tensor};
use onnx_protobuf::{Message, TensorProto};

pub use document::{Document, Node, readers};
use external::Home;
use file::{checked, with_file};
pub use mapped::map as map_file;
pub use outline::{Declared, Extent, Outline, Weight, outline, outline_from_bytes};
pub use text::{is_text, parse as from_text};

/// Reads a model file; external data is looked for beside it.
pub fn load(path: &Path, limits: &Limits) -> Result<Graph> {
    with_file(path, |reader, len, home| read(reader, len, Some(home), limits))
}

/// Reads a model from memory. Without `folder` a model with external data is refused.
pub fn from_bytes(bytes: &[u8], folder: Option<&Path>, limits: &Limits) -> Result<Graph> {
    read(&mut Cursor::new(bytes), bytes.len() as u64, folder.map(Home::of_folder), limits)
}

/// Reads a `TensorProto` from memory, as ONNX's test data holds them: its name and its values.
pub fn tensor_from_bytes(bytes: &[u8], limits: &Limits) -> kiln_ir::Result<(String, Tensor)> {
    wire::check_tensor(&mut Cursor::new(bytes), bytes.len() as u64)
        .map_err(|e| Error { message: e.message.replace("an ONNX model", "an ONNX tensor"), ..e })?;
    let mut proto = TensorProto::parse_from_bytes(bytes)
        .map_err(|e| Error::invalid(format!("not an ONNX tensor, or a damaged one: {e}")))?;
    let name = std::mem::take(&mut proto.name);
    let tensor = tensor::Tensors::new(external::External::new(None), limits.max_tensor_bytes).dense(proto)?;
    Ok((name, tensor))
}

/// A tensor as ONNX's test data holds it.
///
/// # Errors
///
/// *Internal* where it cannot be encoded.
pub fn tensor_to_bytes(name: &str, tensor: &Tensor) -> kiln_ir::Result<Vec<u8>> {
    let encoded = document::encoded(name, tensor).write_to_bytes();
    encoded.map_err(|e| Error::internal(format!("the tensor cannot be encoded: {e}")))
}

/// Files beside a model file that hold its data.
///
/// # Errors
///
/// What is wrong with the model file.
pub fn data_files(path: &Path, limits: &Limits) -> Result<Vec<PathBuf>> {
    with_file(path, |reader, len, _| {
        let model = checked(reader, len, limits)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut names = std::collections::BTreeSet::new();
        external::locations(&model, &mut |name| {
            names.insert(name.to_owned());
        });
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    })
}

fn read(reader: &mut (impl BufRead + Seek), len: u64, home: Option<Home>, limits: &Limits) -> Result<Graph> {
    model::import(checked(reader, len, limits)?, home, limits)
}
