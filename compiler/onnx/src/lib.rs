//! ONNX files to graphs. Nothing outside this crate reads protobuf.
//!
//! A model file is untrusted. `wire` checks the bytes before the decoder sees them, `tensor` and
//! `external` check every size before memory is taken, `graph` checks names, and everything that is wrong
//! or unsupported is reported at once.

mod attr;
mod external;
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
mod types;
mod wire;

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use kiln_ir::errors::Result;
use kiln_ir::graph::Graph;
use kiln_ir::{Error, Limits, Tensor};
use onnx_protobuf::{Message, ModelProto, TensorProto};
use protobuf::CodedInputStream;

use external::Home;
pub use mapped::map as map_file;
pub use outline::{Declared, Extent, Outline, Weight, outline, outline_from_bytes};

/// Reads a model file; external data is looked for beside it.
pub fn load(path: &Path, limits: &Limits) -> Result<Graph> {
    with_file(path, |reader, len, home| read(reader, len, Some(home), limits))
}

/// Hands on a model file, its length, and where it is.
fn with_file<T>(path: &Path, use_it: impl FnOnce(&mut BufReader<File>, u64, Home) -> Result<T>) -> Result<T> {
    let io = |e: std::io::Error| Error::invalid(format!("cannot read {}: {e}", path.display()));
    let file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        let what = if meta.is_dir() { "a folder" } else { "not a regular file" };
        return Err(Error::invalid(format!("cannot read {}: it is {what}", path.display())).into());
    }
    let mut reader = BufReader::with_capacity(1 << 16, file);
    use_it(&mut reader, meta.len(), Home::of_file(path))
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

fn read(reader: &mut (impl BufRead + Seek), len: u64, home: Option<Home>, limits: &Limits) -> Result<Graph> {
    model::import(checked(reader, len, limits)?, home, limits)
}

/// The message, decoded after its bytes have been checked.
fn checked(reader: &mut (impl BufRead + Seek), len: u64, limits: &Limits) -> Result<ModelProto> {
    if len > limits.max_model_bytes {
        return Err(Error::unsupported(format!(
            "the model file has {len} bytes, the limit is {}",
            limits.max_model_bytes
        ))
        .hint("raise --max-model-bytes, or keep the weights in external data")
        .into());
    }
    wire::check(reader, len, limits.max_depth)?;
    reader.rewind().map_err(|e| Error::invalid(format!("cannot read the model: {e}")))?;
    decode(reader, limits)
}

fn decode(reader: &mut dyn BufRead, limits: &Limits) -> Result<ModelProto> {
    let mut stream = CodedInputStream::from_buf_read(reader);
    stream.set_recursion_limit(u32::try_from(limits.max_depth).unwrap_or(u32::MAX));
    let mut proto = ModelProto::new();
    match proto.merge_from(&mut stream) {
        Ok(()) => Ok(proto),
        Err(e) => Err(wire::damaged(&format!("{e} at byte {}", stream.pos())).into()),
    }
}
