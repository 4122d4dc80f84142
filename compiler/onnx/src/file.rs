//! A model file: opened, checked, decoded.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use kiln_ir::errors::Result;
use kiln_ir::{Error, Limits};
use onnx_protobuf::{Message, ModelProto};
use protobuf::CodedInputStream;

use super::external::Home;
use super::wire;

/// Hands on a model file, its length, and where it is.
pub(super) fn with_file<T>(
    path: &Path,
    use_it: impl FnOnce(&mut BufReader<File>, u64, Home) -> Result<T>,
) -> Result<T> {
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

/// The message, decoded after its bytes have been checked.
pub(super) fn checked(reader: &mut (impl BufRead + Seek), len: u64, limits: &Limits) -> Result<ModelProto> {
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

/// Decodes a message, no deeper than the limits allow.
pub(super) fn decode(reader: &mut dyn BufRead, limits: &Limits) -> Result<ModelProto> {
    let mut stream = CodedInputStream::from_buf_read(reader);
    stream.set_recursion_limit(u32::try_from(limits.max_depth).unwrap_or(u32::MAX));
    let mut proto = ModelProto::new();
    match proto.merge_from(&mut stream) {
        Ok(()) => Ok(proto),
        Err(e) => Err(wire::damaged(&format!("{e} at byte {}", stream.pos())).into()),
    }
}
