//! `TensorProto` and `SparseTensorProto` to tensors. Raw data is moved, not copied.

use bytes::Bytes;
use kiln_ir::limits::MAX_EXTENT;
use kiln_ir::{DType, Error, Result, Tensor, bail_invalid, bail_unsupported};
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{SparseTensorProto, TensorProto};
use protobuf::Enum;

use super::external::External;

/// Reads the tensors of one model.
#[derive(Debug)]
pub(super) struct Tensors {
    external: External,
    bytes: u64,
    max_bytes: u64,
}

impl Tensors {
    /// Tensors that together have at most `max_bytes`.
    pub(super) fn new(external: External, max_bytes: u64) -> Self {
        Self { external, bytes: 0, max_bytes }
    }

    /// A dense tensor.
    pub(super) fn dense(&mut self, proto: TensorProto) -> Result<Tensor> {
        if proto.segment.is_some() {
            bail_unsupported!("tensors stored in segments are not supported");
        }
        let (dtype, shape, elements) = self.layout(proto.data_type, &proto.dims)?;
        let location = proto.data_location.value();
        if location == DataLocation::EXTERNAL.value() {
            if has_inline_data(&proto) {
                bail_invalid!("has external data and data of its own");
            }
            let data = self.external.read(&proto.external_data, dtype.packed_bytes_of(elements) as u64)?;
            return Tensor::from_packed(dtype, shape, normal_bools(dtype, data));
        }
        if location != DataLocation::DEFAULT.value() {
            bail_invalid!("has the data location {location}");
        }
        let data = inline_data(proto, dtype)?;
        Tensor::from_packed(dtype, shape, normal_bools(dtype, data))
    }

    /// A sparse tensor, made dense; its name is that of its values.
    pub(super) fn sparse(&mut self, proto: SparseTensorProto) -> Result<Tensor> {
        let (Some(values), Some(indices)) = (proto.values.into_option(), proto.indices.into_option()) else {
            bail_invalid!("a sparse tensor needs values and indices");
        };
        let (values, indices) = (self.dense(values)?, self.dense(indices)?);
        let (dtype, shape, total) = self.layout(values.dtype.to_onnx(), &proto.dims)?;
        let count = values.elements();
        if values.shape.len() != 1 || indices.dtype != DType::I64 {
            bail_invalid!(
                "a sparse tensor needs values of rank 1 and i64 indices, found {} and {}",
                values.ty(),
                indices.ty()
            );
        }
        if dtype.size() == 0 {
            bail_unsupported!("sparse tensors of {dtype} are not supported");
        }
        let strides = match indices.shape[..] {
            [n] if n == count => vec![1],
            [n, rank] if n == count && rank == shape.len() => kiln_ir::tensor::row_major(&shape),
            _ => bail_invalid!(
                "{count} sparse values of shape {shape:?} have indices of shape {:?}",
                indices.shape
            ),
        };
        let flat = strides.len() == 1 && indices.shape.len() == 1;
        let size = dtype.size();
        let mut data = vec![0u8; dtype.bytes_of(total)];
        let mut last = None;
        for (i, index) in indices.to_i64s()?.chunks(strides.len().max(1)).take(count).enumerate() {
            let mut at = 0usize;
            for (axis, (&index, &stride)) in index.iter().zip(&strides).enumerate() {
                let extent = if flat { total } else { shape[axis] };
                match usize::try_from(index) {
                    Ok(index) if index < extent => at += index * stride,
                    _ => bail_invalid!("sparse index {index} is outside 0..{extent}"),
                }
            }
            if last.is_some_and(|last| last >= at) {
                bail_invalid!("sparse indices are not in strictly increasing order at position {i}");
            }
            last = Some(at);
            data[at * size..(at + 1) * size].copy_from_slice(&values.data[i * size..(i + 1) * size]);
        }
        Tensor::new(dtype, shape, data.into())
    }

    /// Element type, extents and number of elements, all checked, and the bytes counted.
    fn layout(&mut self, data_type: i32, dims: &[i64]) -> Result<(DType, Vec<usize>, usize)> {
        let dtype = DType::from_onnx(data_type)?;
        if dtype == DType::String {
            bail_unsupported!("tensors of strings are not supported");
        }
        let extent = |&d: &i64| match usize::try_from(d) {
            Ok(extent) if d <= MAX_EXTENT => Ok(extent),
            _ => Err(Error::invalid(format!("extent {d} in shape {dims:?} is out of range"))),
        };
        let shape = dims.iter().map(extent).collect::<Result<Vec<_>>>()?;
        let elements = shape
            .iter()
            .try_fold(1usize, |n, &e| n.checked_mul(e))
            .filter(|&n| n <= isize::MAX as usize / 16);
        let Some(elements) = elements else { bail_invalid!("shape {dims:?} has too many elements") };
        let needed = dtype.bytes_of(elements);
        self.bytes = self.bytes.saturating_add(needed as u64);
        if self.bytes > self.max_bytes {
            return Err(Error::unsupported(format!(
                "the model's tensors have more than {} bytes",
                self.max_bytes
            ))
            .hint("raise --max-tensor-bytes"));
        }
        Ok((dtype, shape, elements))
    }
}

fn has_inline_data(proto: &TensorProto) -> bool {
    !proto.raw_data.is_empty() || typed_fields(proto).iter().any(|(_, count)| *count > 0)
}

fn typed_fields(proto: &TensorProto) -> [(&'static str, usize); 6] {
    [
        ("float_data", proto.float_data.len()),
        ("int32_data", proto.int32_data.len()),
        ("string_data", proto.string_data.len()),
        ("int64_data", proto.int64_data.len()),
        ("double_data", proto.double_data.len()),
        ("uint64_data", proto.uint64_data.len()),
    ]
}

fn inline_data(proto: TensorProto, dtype: DType) -> Result<Bytes> {
    let used = typed_fields(&proto)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, _)| name)
        .collect::<Vec<_>>();
    if !proto.raw_data.is_empty() {
        if let Some(field) = used.first() {
            bail_invalid!("has both raw_data and {field}");
        }
        return Ok(proto.raw_data.into());
    }
    let field = match dtype {
        DType::F32 | DType::C64 => "float_data",
        DType::F64 | DType::C128 => "double_data",
        DType::I64 => "int64_data",
        DType::U32 | DType::U64 => "uint64_data",
        _ => "int32_data",
    };
    if let Some(other) = used.iter().find(|name| **name != field) {
        bail_invalid!("holds {dtype} in {other}; {field} is the place for it");
    }
    Ok(match dtype {
        DType::F32 | DType::C64 => bytes_of(proto.float_data),
        DType::F64 | DType::C128 => bytes_of(proto.double_data),
        DType::I64 => bytes_of(proto.int64_data),
        DType::U64 => bytes_of(proto.uint64_data),
        DType::U32 => bytes_of(narrow::<_, u32>(&proto.uint64_data, dtype)?),
        DType::I32 => bytes_of(proto.int32_data),
        DType::I16 => bytes_of(narrow::<_, i16>(&proto.int32_data, dtype)?),
        DType::I8 => bytes_of(narrow::<_, i8>(&proto.int32_data, dtype)?),
        DType::U16 | DType::F16 | DType::BF16 => bytes_of(narrow::<_, u16>(&proto.int32_data, dtype)?),
        // One byte each: bool and the 8-bit floats; two 4-bit elements.
        _ => bytes_of(narrow::<_, u8>(&proto.int32_data, dtype)?),
    })
}

fn narrow<A: Copy + std::fmt::Display, B: TryFrom<A>>(values: &[A], dtype: DType) -> Result<Vec<B>> {
    let one = |&v: &A| B::try_from(v).map_err(|_| Error::invalid(format!("value {v} is not a {dtype}")));
    values.iter().map(one).collect()
}

/// The bytes of a vector, not copied.
fn bytes_of<T: bytemuck::Pod + Send + Sync>(values: Vec<T>) -> Bytes {
    struct Owner<T>(Vec<T>);
    impl<T: bytemuck::Pod> AsRef<[u8]> for Owner<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    Bytes::from_owner(Owner(values))
}

/// Booleans as 0 and 1, whatever non-zero byte the file has.
fn normal_bools(dtype: DType, data: Bytes) -> Bytes {
    if dtype == DType::Bool && data.iter().any(|&b| b > 1) {
        return data.iter().map(|&b| u8::from(b != 0)).collect();
    }
    data
}
