//! NumPy's `.npy` and `.npz`: any byte order and axis order is read; little-endian, C order is written.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use bytes::Bytes;
use kiln_ir::tensor::row_major;
use kiln_ir::{DType, Error, Result, Tensor, bail_invalid, bail_unsupported};
use npyz::{Endianness, NpyFile, Order, TypeChar, TypeStr, WriterBuilder};

/// Reads a `.npy` file.
pub fn read(path: &Path) -> Result<Tensor> {
    let named = |e: Error| Error { message: format!("{}: {}", path.display(), e.message), ..e };
    let file =
        File::open(path).map_err(|e| Error::invalid(format!("cannot read {}: {e}", path.display())))?;
    let array = NpyFile::new(BufReader::new(file)).map_err(damaged).map_err(named)?;
    decode(array).map_err(named)
}

/// Reads every array of a `.npz` file that `wanted` accepts.
pub fn read_archive(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<(String, Tensor)>> {
    let named = |what: &str| format!("{}: {what}", path.display());
    let mut archive = npyz::npz::NpzArchive::open(path)
        .map_err(|e| Error::invalid(format!("cannot read {}: {e}", path.display())))?;
    let mut names: Vec<String> = archive.array_names().filter(|n| wanted(n)).map(str::to_owned).collect();
    names.sort();
    let mut out = Vec::new();
    for name in names {
        let file =
            archive.by_name(&name).map_err(|e| Error::invalid(named(&format!("array '{name}': {e}"))))?;
        let Some(file) = file else { continue };
        let tensor = decode(file)
            .map_err(|e| Error { message: named(&format!("array '{name}': {}", e.message)), ..e })?;
        out.push((name, tensor));
    }
    Ok(out)
}

fn damaged(e: io::Error) -> Error {
    Error::invalid(format!("not a .npy array, or a damaged one: {e}"))
}

fn decode<R: Read>(array: NpyFile<R>) -> Result<Tensor> {
    let npyz::DType::Plain(descr) = array.dtype() else {
        bail_unsupported!(
            "structured arrays ({}) are not read, only arrays of numbers",
            array.dtype().descr()
        );
    };
    let order = array.order();
    let dtype = dtype_of(&descr)?;
    let shape: Vec<usize> = array.shape().iter().map(|&e| usize::try_from(e).unwrap_or(usize::MAX)).collect();
    let elements = shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e));
    let Some(needed) = elements.and_then(|n| n.checked_mul(dtype.size())).filter(|n| *n < 1 << 40) else {
        bail_invalid!("shape {shape:?} is too large");
    };
    let mut data = Vec::new();
    array.into_inner().take(needed as u64 + 1).read_to_end(&mut data).map_err(damaged)?;
    if data.len() != needed {
        let found = if data.len() > needed { "more".to_owned() } else { data.len().to_string() };
        bail_invalid!("{dtype} array of shape {shape:?} needs {needed} bytes of data and has {found}");
    }
    if descr.endianness() == Endianness::Big {
        // The halves of a complex number are swapped each by itself.
        let scalar = if matches!(dtype, DType::C64 | DType::C128) { dtype.size() / 2 } else { dtype.size() };
        data.chunks_exact_mut(scalar).for_each(<[u8]>::reverse);
    }
    if dtype == DType::Bool {
        data.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    if order == Order::Fortran && shape.len() > 1 {
        data = from_fortran(&data, &shape, dtype.size());
    }
    Tensor::new(dtype, shape, Bytes::from(data))
}

fn from_fortran(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    let mut strides = row_major(&reversed);
    strides.reverse();
    let mut index = vec![0usize; shape.len()];
    for _ in 0..data.len() / size {
        let at = size * index.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>();
        out.extend_from_slice(&data[at..at + size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

fn dtype_of(descr: &TypeStr) -> Result<DType> {
    Ok(match (descr.type_char(), descr.size_field()) {
        (TypeChar::Float, 2) => DType::F16,
        (TypeChar::Float, 4) => DType::F32,
        (TypeChar::Float, 8) => DType::F64,
        (TypeChar::Int, 1) => DType::I8,
        (TypeChar::Int, 2) => DType::I16,
        (TypeChar::Int, 4) => DType::I32,
        (TypeChar::Int, 8) => DType::I64,
        (TypeChar::Uint, 1) => DType::U8,
        (TypeChar::Uint, 2) => DType::U16,
        (TypeChar::Uint, 4) => DType::U32,
        (TypeChar::Uint, 8) => DType::U64,
        (TypeChar::Bool, 1) => DType::Bool,
        (TypeChar::Complex, 8) => DType::C64,
        (TypeChar::Complex, 16) => DType::C128,
        _ => bail_unsupported!("arrays of NumPy's type {descr} are not read, only numbers and bool"),
    })
}

/// Writes tensors by name as a `.npz` archive.
///
/// # Errors
///
/// As of [`write()`].
pub fn write_archive(
    tensors: &[(&str, &Tensor)],
    place: &Path,
    out: impl Write + Seek,
) -> Result<(), kiln_compiler::Error> {
    let failed = |e: io::Error| kiln_compiler::Error::write(place, e);
    let mut archive = npyz::npz::NpzWriter::new(out);
    for (name, tensor) in tensors {
        let mut bytes = Vec::new();
        write(tensor, place, &mut bytes)?;
        let options = npyz::zip::write::FileOptions::default();
        archive
            .zip_writer()
            .start_file(npyz::npz::file_name_from_array_name(name), options)
            .map_err(|e| failed(io::Error::other(e)))?;
        archive.zip_writer().write_all(&bytes).map_err(failed)?;
    }
    archive.zip_writer().finish().map_err(|e| failed(io::Error::other(e)))?;
    Ok(())
}

/// Writes a tensor as a `.npy` array to `out`, which is called `place` in errors. bf16, which NumPy lacks, is widened
/// to f32; integers of 4 bits have 8, and floats of 4 and 8 are the bytes of their bits.
///
/// # Errors
///
/// *Unsupported* for elements that NumPy has no type for; [`kiln_compiler::Error::Write`] names `place`.
pub fn write(tensor: &Tensor, place: &Path, out: impl Write) -> Result<(), kiln_compiler::Error> {
    let descr = match tensor.dtype {
        DType::F16 => "<f2",
        DType::F32 | DType::BF16 => "<f4",
        DType::F64 => "<f8",
        DType::I8 | DType::I4 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 | DType::U4 => "|u1",
        small if small.is_small() => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::Bool => "|b1",
        DType::C64 => "<c8",
        DType::C128 => "<c16",
        other => {
            let message = format!("a tensor of {other} cannot be written as .npy: NumPy has no such type");
            return Err(Error::unsupported(message).into());
        }
    };
    let descr: TypeStr = descr.parse().map_err(|_| Error::internal(format!("'{descr}' is no NumPy type")))?;
    write_as(tensor, descr, out).map_err(|e| kiln_compiler::Error::write(place, e))
}

fn write_as(tensor: &Tensor, descr: TypeStr, out: impl Write) -> io::Result<()> {
    let shape: Vec<u64> = tensor.shape.iter().map(|&e| e as u64).collect();
    let mut out = npyz::WriteOptions::new_header_only()
        .dtype(npyz::DType::Plain(descr))
        .shape(&shape)
        .writer(out)
        .write_header_only()?;
    match tensor.as_slice::<half::bf16>() {
        Ok(narrow) if tensor.dtype == DType::BF16 => {
            let wide: Vec<f32> = narrow.iter().map(|v| v.to_f32()).collect();
            out.write_all(bytemuck::cast_slice(&wide))?;
        }
        _ => out.write_all(&tensor.data)?,
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Result<Tensor> {
        let order = if fortran { "True" } else { "False" };
        let mut text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        while (10 + text.len() + 1) % 64 != 0 {
            text.push(' ');
        }
        text.push('\n');
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((text.len() as u16).to_le_bytes());
        file.extend(text.as_bytes());
        file.extend(data);
        decode(NpyFile::new(&file[..]).map_err(damaged)?)
    }

    #[test]
    fn fortran_order_and_big_endian_are_normalised() {
        let data: Vec<u8> = [1i16, 4, 2, 5, 3, 6].iter().flat_map(|v| v.to_be_bytes()).collect();
        let tensor = parse(">i2", true, "(2, 3)", &data).unwrap();
        assert_eq!(tensor, Tensor::from_vec(&[2, 3], vec![1i16, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn wrong_sizes_and_types_are_refused() {
        assert!(parse("<f4", false, "(2,)", &[0; 7]).unwrap_err().message.contains("needs 8 bytes"));
        assert!(parse("<f4", false, "(2,)", &[0; 9]).unwrap_err().message.contains("has more"));
        assert!(parse("<f4", false, "(4294967296, 4294967296, 4)", &[]).is_err());
        assert_eq!(parse("<U3", false, "(1,)", &[0; 12]).unwrap_err().kind, kiln_ir::ErrorKind::Unsupported);
    }

    #[test]
    fn what_is_written_is_read() {
        for tensor in [
            Tensor::from_vec(&[2, 2], vec![1.5f32, -2.0, 3.0, f32::NAN]),
            Tensor::scalar(7i64),
            Tensor::from_bools(&[3], [true, false, true]),
            Tensor::zeros(DType::F16, &[0, 4]),
            Tensor::zeros(DType::C64, &[2]),
        ] {
            let mut file = Vec::new();
            write(&tensor, Path::new("a.npy"), &mut file).unwrap();
            let back = decode(NpyFile::new(&file[..]).unwrap()).unwrap();
            assert_eq!((back.dtype, &back.shape, &back.data), (tensor.dtype, &tensor.shape, &tensor.data));
        }
    }
}
