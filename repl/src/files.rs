//! Tensors in files: `.npy`, `.npz`, `.pb`, images.

use std::io::BufWriter;
use std::path::Path;

use kiln_compiler::internals::emit::staging::{self, Staging};
use kiln_compiler::{Limits, Tensor};
use kiln_tools::images::{self, Layout, Recipe};
use kiln_tools::npy;

use crate::fault::{Fault, Result};
use crate::show::picture;

/// The extension of a path, in small letters.
pub(crate) fn extension(path: &Path) -> String {
    path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// Words behind a path say how an image becomes numbers: `size=32x32 mean=R,G,B std=R,G,B layout=nhwc channels=1`.
pub(crate) fn recipe(words: &[&str]) -> Result<Recipe> {
    let mut out = Recipe { size: None, mean: [0.0; 3], std: [255.0; 3], layout: Layout::Nchw, channels: 3 };
    for word in words {
        let wrong = || {
            Fault::new(format!("'{word}' says nothing of an image"))
                .hint("size=HxW, mean=R,G,B, std=R,G,B (of 0 to 255), layout=nchw or nhwc, channels=1 or 3")
        };
        let (key, value) = word.split_once('=').ok_or_else(wrong)?;
        let three = || {
            let list: Vec<f32> = value.split(',').filter_map(|v| v.parse().ok()).collect();
            <[f32; 3]>::try_from(list).map_err(|_| wrong())
        };
        match (key, value) {
            ("size", _) => {
                let (h, w) = value.split_once('x').ok_or_else(wrong)?;
                let side = |v: &str| v.parse().ok().filter(|n| (1..=16_384).contains(n)).ok_or_else(wrong);
                out.size = Some((side(h)?, side(w)?));
            }
            ("mean", _) => out.mean = three()?,
            ("std", _) => out.std = three()?,
            ("layout", "nchw") => out.layout = Layout::Nchw,
            ("layout", "nhwc") => out.layout = Layout::Nhwc,
            ("channels", "1") => out.channels = 1,
            ("channels", "3") => out.channels = 3,
            _ => return Err(wrong()),
        }
    }
    if out.std.contains(&0.0) {
        return Err(Fault::new("std must not be 0: it is divided by"));
    }
    Ok(out)
}

/// The tensors of a file, with their names where it has any.
pub(crate) fn read(path: &Path, words: &[&str]) -> Result<Vec<(Option<String>, Tensor)>> {
    let missing = |e| Fault::new(format!("cannot read {}: {e}", path.display()));
    match &*extension(path) {
        "npy" => Ok(vec![(None, npy::read(path)?)]),
        "npz" => {
            let arrays = npy::read_archive(path, &|_| true)?;
            Ok(arrays.into_iter().map(|(name, tensor)| (Some(name), tensor)).collect())
        }
        "pb" => {
            let bytes = std::fs::read(path).map_err(missing)?;
            let (_, tensor) = kiln_onnx::tensor_from_bytes(&bytes, &Limits::default())?;
            Ok(vec![(None, tensor)])
        }
        "jpg" | "jpeg" | "png" => Ok(vec![(None, images::read(path, &recipe(words)?)?)]),
        other => Err(Fault::new(format!("files of kind '{other}' are not read"))
            .hint("models: .onnx, .onnxtxt; tensors: .npy, .npz, .pb; images: .png, .jpg")),
    }
}

/// Writes a tensor as the extension says.
pub(crate) fn write(name: &str, tensor: &Tensor, path: &Path) -> Result<()> {
    let failed = |e| Fault::new(format!("cannot write {}: {e}", path.display()));
    match &*extension(path) {
        "npy" => whole(path, |out| Ok(npy::write(tensor, path, out)?)),
        "npz" => whole(path, |out| Ok(npy::write_archive(&[(name, tensor)], path, out)?)),
        "pb" => {
            let bytes = kiln_onnx::tensor_to_bytes(name, tensor)?;
            whole(path, |mut out| std::io::Write::write_all(&mut out, &bytes).map_err(failed))
        }
        "png" => {
            let picture = picture::of(tensor)?;
            let bytes = picture.png().map_err(|e| Fault::new(format!("the image cannot be encoded: {e}")))?;
            whole(path, |mut out| std::io::Write::write_all(&mut out, &bytes).map_err(failed))
        }
        other => Err(Fault::new(format!("tensors are not written as '{other}'"))
            .hint("there are .npy, .npz, .pb and .png")),
    }
}

/// Writes a file beside its place and moves it there: all of it, or nothing.
pub(crate) fn whole(path: &Path, write: impl FnOnce(BufWriter<std::fs::File>) -> Result<()>) -> Result<()> {
    let failed = |e| Fault::new(format!("cannot write {}: {e}", path.display()));
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = path.file_name().and_then(|n| n.to_str());
    let file = file.ok_or_else(|| Fault::new(format!("{} names no file", path.display())))?;
    let mut staging = Staging::new(folder)?;
    let out = std::fs::File::create(staging.file(file)).map_err(staging::failed(&staging.place(file)))?;
    write(BufWriter::new(out))?;
    staging.commit().map(|_| ()).map_err(|e| match e {
        kiln_compiler::Error::Write { error, .. } => failed(error),
        other => other.into(),
    })
}
