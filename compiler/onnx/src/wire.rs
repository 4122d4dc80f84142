//! A check of the bytes before the decoder sees them.
//!
//! The decoder recurses into groups without a limit and says little about where a file is broken. This walk
//! knows which fields of ONNX hold messages, uses no recursion and no memory, skips over tensor data, and
//! bounds depth and number of what the decoder will build. It refuses groups, which ONNX does not use: the decoder's
//! recursion into them has an advisory (RUSTSEC-2024-0437), and this walk is the answer to it. `tests/fuzz.rs` holds
//! the two against each other.

use std::io::{BufRead, Seek};

use kiln_ir::{Error, Result};

/// Fields that a model may have, elements of numeric lists aside; each costs the decoder up to some hundred bytes.
pub(super) const MAX_FIELDS: u64 = 8_000_000;

/// The messages of ONNX that hold messages; all others are `Leaf`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TensorType,
    ElementType,
    MapType,
    Shape,
    Function,
    Training,
    Annotation,
    Leaf,
}

impl Message {
    /// What a length-delimited field holds; `None` for strings, bytes, packed numbers and unknown fields.
    fn child(self, field: u64) -> Option<Message> {
        use Message::*;
        Some(match (self, field) {
            (Model, 7) | (Training, 1 | 2) | (Attribute, 6 | 11) => Graph,
            (Model, 20) => Training,
            (Model, 25) => Function,
            (Graph | Function, 1 | 7) if (self == Graph) == (field == 1) => Node,
            (Graph, 5) | (Attribute, 5 | 10) | (Sparse, 1 | 2) => Tensor,
            (Graph, 15) | (Attribute, 22 | 23) => Sparse,
            (Graph, 11..=13) | (Function, 12) => ValueInfo,
            (Graph, 14) => Annotation,
            (Node, 5) | (Function, 11) => Attribute,
            (ValueInfo, 2) | (Attribute, 14 | 15) => Type,
            (Type, 1 | 8) => TensorType,
            (Type, 4 | 9) => ElementType,
            (Type, 5) => MapType,
            (ElementType, 1) | (MapType, 2) => Type,
            (TensorType, 2) => Shape,
            (Shape, 1) => Leaf,
            (Model, 8 | 14) | (Graph, 16) | (Node, 9) | (Tensor, 3 | 13 | 16) => Leaf,
            (ValueInfo, 4) | (Training, 3 | 4) | (Function, 9 | 14) | (Annotation, 2) => Leaf,
            _ => return None,
        })
    }

    /// Whether a field is a list of numbers, of which each element may be a field of its own and costs what a number
    /// does. Other fields cost the decoder more: an unknown one takes an entry of a table.
    fn is_list(self, field: u64) -> bool {
        match self {
            Self::Attribute => matches!(field, 7 | 8),
            Self::Tensor => matches!(field, 1 | 4 | 5 | 7 | 10 | 11),
            Self::Sparse => field == 3,
            _ => false,
        }
    }
}

/// An *invalid* error about the file as a whole.
pub(super) fn damaged(what: &str) -> Error {
    Error::invalid(format!("the file is not an ONNX model, or is a damaged one: {what}"))
}

/// Walks the whole file of a model.
pub(super) fn check(reader: &mut (impl BufRead + Seek), len: u64, max_depth: usize) -> Result<()> {
    check_as(Message::Model, reader, len, max_depth)
}

/// Walks the whole file of a single tensor.
pub(super) fn check_tensor(reader: &mut (impl BufRead + Seek), len: u64) -> Result<()> {
    check_as(Message::Tensor, reader, len, 2)
}

fn check_as(root: Message, reader: &mut (impl BufRead + Seek), len: u64, max_depth: usize) -> Result<()> {
    if len == 0 {
        return Err(damaged("the file is empty"));
    }
    let mut walk = Scan { reader, pos: 0, len };
    let mut open = vec![(root, len)];
    let mut fields = 0u64;
    while let Some(&(kind, end)) = open.last() {
        if walk.pos == end {
            open.pop();
            continue;
        }
        let start = walk.pos;
        let tag = walk.varint(end)?;
        let field = tag >> 3;
        if field == 0 || tag > u64::from(u32::MAX) {
            return Err(damaged(&format!("field number {field} at byte {start}")));
        }
        if tag & 7 == 2 || !kind.is_list(field) {
            fields += 1;
            if fields > MAX_FIELDS {
                return Err(Error::unsupported(format!("the model file has more than {MAX_FIELDS} fields")));
            }
        }
        match tag & 7 {
            0 => _ = walk.varint(end)?,
            1 => walk.skip(8, end, start)?,
            5 => walk.skip(4, end, start)?,
            2 => {
                let size = walk.varint(end)?;
                if size > end - walk.pos {
                    return Err(walk.too_long(size, end, start));
                }
                match kind.child(field) {
                    Some(child) if open.len() < max_depth => open.push((child, walk.pos + size)),
                    Some(_) => {
                        return Err(Error::unsupported(format!(
                            "more than {max_depth} messages are inside each other at byte {start}"
                        ))
                        .hint("raise the nesting limit if the model is sound"));
                    }
                    None => walk.skip(size, end, start)?,
                }
            }
            wire => {
                return Err(damaged(&format!("wire type {wire} at byte {start}, which ONNX does not use")));
            }
        }
    }
    Ok(())
}

struct Scan<'a, R> {
    reader: &'a mut R,
    pos: u64,
    len: u64,
}

impl<R: BufRead + Seek> Scan<'_, R> {
    fn too_long(&self, size: u64, end: u64, start: u64) -> Error {
        if size > self.len - self.pos {
            damaged(&format!(
                "the file ends at byte {} in the middle of a field that starts at byte {start} and has {size} bytes",
                self.len
            ))
        } else {
            damaged(&format!(
                "the field at byte {start} has {size} bytes and does not fit its message of {end}"
            ))
        }
    }

    fn varint(&mut self, end: u64) -> Result<u64> {
        let start = self.pos;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            if self.pos == end {
                return Err(self.too_long(shift / 7 + 1, end, start));
            }
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged(&format!("a number of more than 64 bits at byte {start}")))
    }

    fn byte(&mut self) -> Result<u8> {
        let buffer =
            self.reader.fill_buf().map_err(|e| Error::invalid(format!("cannot read the model: {e}")))?;
        let byte = *buffer.first().ok_or_else(|| damaged("the file became shorter while it was read"))?;
        self.reader.consume(1);
        self.pos += 1;
        Ok(byte)
    }

    fn skip(&mut self, size: u64, end: u64, start: u64) -> Result<()> {
        if size > end - self.pos {
            return Err(self.too_long(size, end, start));
        }
        // `size` is at most the file's length, which is a file offset.
        self.reader
            .seek_relative(size as i64)
            .map_err(|e| Error::invalid(format!("cannot read the model: {e}")))?;
        self.pos += size;
        Ok(())
    }
}
