//! Data that a model is calibrated on: a `.npz`, a folder of `.npy`, a folder of images.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_calibrate::Samples;
use kiln_ir::error::Printable;
use kiln_ir::{DType, Error, Result, Tensor};
use kiln_onnx::{Declared, Extent};

use super::failure::Failure;
use kiln_tools::images::{self, Layout, Recipe};
use kiln_tools::npy;

/// Memory for samples that were read once and are read again.
const CACHE_BYTES: usize = 1 << 29;

/// How images become numbers.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ImageArgs {
    /// Images: what is subtracted from red, green and blue, which are 0 to 255.
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', allow_negative_numbers = true)]
    image_mean: Option<Vec<f32>>,
    /// Images: what red, green and blue are divided by then.
    #[arg(long, value_name = "R,G,B", value_delimiter = ',')]
    image_std: Option<Vec<f32>>,
    /// Images: the size that they get; by default what the model's input says.
    #[arg(long, value_name = "HxW")]
    resize: Option<String>,
    /// Images: where channels lie; by default where the model's input has 1 or 3 of them.
    #[arg(long, value_enum)]
    layout: Option<Layout>,
}

/// The samples of some data.
#[derive(Debug)]
pub(super) struct Data {
    kind: Kind,
    /// Images that were read, by sample, and their bytes.
    cache: RefCell<(usize, BTreeMap<usize, Tensor>)>,
}

#[derive(Debug)]
enum Kind {
    /// By input: the whole array and how many elements of its first axis a sample has; nothing where the input has no such
    /// axis.
    Arrays {
        count: usize,
        arrays: Vec<(String, Tensor, Option<usize>)>,
    },
    Images {
        input: String,
        files: Vec<PathBuf>,
        recipe: Recipe,
    },
}

impl Data {
    /// Reads what there is, or finds out where it is. `inputs` are the model's.
    pub(super) fn open(path: &Path, inputs: &[Declared], images: &ImageArgs) -> Result<Self, Failure> {
        let missing = |e: std::io::Error| Error::invalid(format!("cannot read {}: {e}", path.display()));
        let meta = std::fs::metadata(path).map_err(missing)?;
        let kind = if meta.is_dir() {
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(path).map_err(missing)?.flatten().map(|e| e.path()).collect();
            files.sort();
            let of = |accept: &dyn Fn(&Path) -> bool| -> Vec<PathBuf> {
                files.iter().filter(|f| accept(f)).cloned().collect()
            };
            let arrays = of(&|f| f.extension().is_some_and(|e| e == "npy"));
            let pictures = of(&images::is_image);
            match (arrays.is_empty(), pictures.is_empty()) {
                (false, true) => from_folder(path, &arrays, inputs)?,
                (true, false) => pictures_of(path, pictures, inputs, images)?,
                (false, false) => {
                    return Err(Failure::usage(format!(
                        "{} holds both .npy files and images: keep one kind of them there",
                        path.display()
                    )));
                }
                (true, true) => {
                    return Err(Error::invalid(format!(
                        "{} holds neither .npy files nor images (.jpg, .jpeg, .png)",
                        path.display()
                    ))
                    .into());
                }
            }
        } else if path.extension().is_some_and(|e| e == "npz") {
            from_archive(path, inputs)?
        } else {
            return Err(Failure::usage(format!(
                "{} is neither a .npz file nor a folder of .npy files or images",
                path.display()
            )));
        };
        let data = Self { kind, cache: RefCell::default() };
        // What is wrong with the first sample is wrong with all of them, as a rule.
        let first = data.sample(0)?;
        check(&first, inputs)?;
        Ok(data)
    }

    /// The files of a folder of images, in order.
    pub(super) fn files(&self) -> Option<&[PathBuf]> {
        match &self.kind {
            Kind::Images { files, .. } => Some(files),
            Kind::Arrays { .. } => None,
        }
    }
}

impl Samples for Data {
    fn count(&self) -> usize {
        match &self.kind {
            Kind::Arrays { count, .. } => *count,
            Kind::Images { files, .. } => files.len(),
        }
    }

    fn name(&self, i: usize) -> String {
        match &self.kind {
            Kind::Arrays { .. } => format!("sample {i}"),
            Kind::Images { files, .. } => files[i].display().to_string(),
        }
    }

    fn sample(&self, i: usize) -> Result<Vec<(String, Tensor)>> {
        match &self.kind {
            Kind::Arrays { arrays, .. } => {
                arrays.iter().map(|(name, all, per)| Ok((name.clone(), part(all, i, *per)?))).collect()
            }
            Kind::Images { input, files, recipe } => {
                if let Some(known) = self.cache.borrow().1.get(&i) {
                    return Ok(vec![(input.clone(), known.clone())]);
                }
                let tensor = images::read(&files[i], recipe)?;
                let (bytes, known) = &mut *self.cache.borrow_mut();
                if *bytes + tensor.data.len() <= CACHE_BYTES {
                    *bytes += tensor.data.len();
                    known.insert(i, tensor.clone());
                }
                Ok(vec![(input.clone(), tensor)])
            }
        }
    }
}

/// Sample `i` of an array: `per` elements of its first axis, or one without the axis.
fn part(all: &Tensor, i: usize, per: Option<usize>) -> Result<Tensor> {
    let taken = per.unwrap_or(1);
    let bytes = all.data.len() / all.shape[0].max(1) * taken;
    let mut shape = all.shape.clone();
    match per {
        Some(per) => shape[0] = per,
        None => _ = shape.remove(0),
    }
    Tensor::new(all.dtype, shape, all.data.slice(i * bytes..(i + 1) * bytes))
}

/// Refuses a sample that does not fit what the model declares.
fn check(sample: &[(String, Tensor)], inputs: &[Declared]) -> Result<()> {
    for (name, tensor) in sample {
        let Some(input) = inputs.iter().find(|i| i.name == *name) else { continue };
        let extents = input.shape.as_deref().unwrap_or_default();
        let fits = |(e, n): (&Extent, &usize)| !matches!(e, Extent::Fixed(f) if *f != *n as i64);
        let fits = input.shape.is_none()
            || extents.len() == tensor.shape.len() && extents.iter().zip(&tensor.shape).all(fits);
        if fits && tensor.dtype.name() == input.dtype {
            continue;
        }
        let told = |e: &Extent| match e {
            Extent::Fixed(n) => n.to_string(),
            Extent::Open(name) => name.clone(),
        };
        let wanted = extents.iter().map(told).collect::<Vec<_>>().join(", ");
        let message = format!(
            "input '{}' is {}[{wanted}], and a sample of the data is {}",
            Printable(name),
            input.dtype,
            tensor.ty()
        );
        let hint = match (tensor.dtype, &*input.dtype) {
            (DType::F64, "f32") => "NumPy's default type is f64: save array.astype(numpy.float32)",
            _ => "samples lie along axis 0 of an array; the other axes are the input's",
        };
        return Err(Error::invalid(message).hint(hint));
    }
    Ok(())
}

/// How many samples an array holds for an input, and how many elements of its first axis each has.
fn samples_of(input: &Declared, array: &Tensor) -> Result<(usize, Option<usize>)> {
    let what = || format!("the array for input '{}'", Printable(&input.name));
    let Some(&extent) = array.shape.first() else {
        return Err(Error::invalid(format!("{} has no axis: samples lie along axis 0", what())));
    };
    let rank = input.shape.as_ref().map_or(array.shape.len(), Vec::len);
    let per = match input.shape.as_ref().and_then(|s| s.first()) {
        _ if rank + 1 == array.shape.len() => None,
        Some(Extent::Fixed(batch)) => Some(usize::try_from(*batch).unwrap_or(1).max(1)),
        _ => Some(1),
    };
    let taken = per.unwrap_or(1);
    if extent == 0 || extent % taken != 0 {
        return Err(Error::invalid(format!(
            "{} has {extent} elements along axis 0, and a run of the model takes {taken}",
            what()
        )));
    }
    Ok((extent / taken, per))
}

fn arrays(given: Vec<(String, Tensor)>, inputs: &[Declared]) -> Result<Kind> {
    let mut arrays = Vec::new();
    let mut first: Option<(usize, String)> = None;
    for input in inputs {
        let Some((name, array)) = given.iter().find(|(name, _)| *name == input.name) else { continue };
        let (count, per) = samples_of(input, array)?;
        match &first {
            Some((other, of)) if *other != count => {
                return Err(Error::invalid(format!(
                    "the arrays hold {other} samples for input '{}' and {count} for '{}'",
                    Printable(of),
                    Printable(name)
                )));
            }
            _ => _ = first.get_or_insert_with(|| (count, name.clone())),
        }
        arrays.push((name.clone(), array.clone(), per));
    }
    Ok(Kind::Arrays { count: first.map_or(0, |(count, _)| count), arrays })
}

fn from_archive(path: &Path, inputs: &[Declared]) -> Result<Kind> {
    let wanted = |name: &str| inputs.iter().any(|i| i.name == name);
    let given = npy::read_archive(path, &wanted)?;
    let missing: Vec<String> = inputs
        .iter()
        .filter(|i| !given.iter().any(|(name, _)| *name == i.name))
        .map(|i| format!("'{}'", i.name))
        .collect();
    if !missing.is_empty() || given.is_empty() {
        return Err(Error::invalid(format!("{} holds no array {}", path.display(), missing.join(", ")))
            .hint("numpy.savez(FILE, INPUT=array, ..) names them"));
    }
    arrays(given, inputs)
}

/// The only input of a model.
fn only<'i>(path: &Path, what: &str, inputs: &'i [Declared]) -> Result<&'i Declared, Failure> {
    match inputs {
        [input] => Ok(input),
        _ => Err(Failure::usage(format!(
            "{}: a folder of {what} is for models of one input, and the model has {}; a .npz file holds arrays by name",
            path.display(),
            inputs.len()
        ))),
    }
}

/// Each file holds a sample, with or without the axis of samples, or several of them.
fn from_folder(path: &Path, files: &[PathBuf], inputs: &[Declared]) -> Result<Kind, Failure> {
    let input = only(path, ".npy files", inputs)?;
    let rank = input.shape.as_ref().map(Vec::len);
    let mut data: Vec<u8> = Vec::new();
    let mut first: Option<Tensor> = None;
    let mut samples = 0;
    for file in files {
        let mut array = npy::read(file)?;
        if rank == Some(array.shape.len() + 1) {
            array.shape.insert(0, 1);
        }
        let first = first.get_or_insert_with(|| array.clone());
        if array.shape.is_empty() || array.dtype != first.dtype || array.shape[1..] != first.shape[1..] {
            return Err(Error::invalid(format!(
                "{} holds {}, and {} holds {}: samples of one shape are needed",
                file.display(),
                array.ty(),
                files[0].display(),
                first.ty()
            ))
            .into());
        }
        samples += array.shape[0];
        data.extend_from_slice(&array.data);
    }
    let Some(first) = first else { return Err(Error::internal("no file").into()) };
    let mut shape = first.shape.clone();
    shape[0] = samples;
    let whole = Tensor::new(first.dtype, shape, data.into())?;
    Ok(arrays(vec![(input.name.clone(), whole)], inputs)?)
}

fn pictures_of(
    path: &Path,
    files: Vec<PathBuf>,
    inputs: &[Declared],
    args: &ImageArgs,
) -> Result<Kind, Failure> {
    let input = only(path, "images", inputs)?;
    let Some([_, a, b, c]) = input.shape.as_deref() else {
        let message = format!("input '{}' has no four axes, as images need", Printable(&input.name));
        return Err(Error::invalid(message).into());
    };
    let fixed = |e: &Extent| match e {
        Extent::Fixed(n) => usize::try_from(*n).ok(),
        Extent::Open(_) => None,
    };
    let colours = |e: &Extent| matches!(fixed(e), Some(1 | 3));
    let layout = args.layout.unwrap_or(if !colours(a) && colours(c) { Layout::Nhwc } else { Layout::Nchw });
    let (channels, height, width) = match layout {
        Layout::Nchw => (a, b, c),
        Layout::Nhwc => (c, a, b),
    };
    let channels = fixed(channels).unwrap_or(3);
    if channels != 1 && channels != 3 {
        let message = format!(
            "input '{}' has {channels} channels, and images have 3, or 1 in grey",
            Printable(&input.name)
        );
        return Err(Error::invalid(message).hint("--layout says where channels lie").into());
    }
    let size = match &args.resize {
        Some(text) => Some(extents(text)?),
        None => fixed(height).zip(fixed(width)),
    };
    let three = |flag: &str, given: &Option<Vec<f32>>, otherwise: f32| match given.as_deref() {
        None => Ok([otherwise; 3]),
        Some([r, g, b]) => Ok([*r, *g, *b]),
        Some(other) => Err(Failure::usage(format!(
            "{flag} needs three numbers, for red, green and blue, and {} are given",
            other.len()
        ))),
    };
    let mean = three("--image-mean", &args.image_mean, 0.0)?;
    let std = three("--image-std", &args.image_std, 1.0)?;
    if mean.iter().any(|v| !v.is_finite()) || std.iter().any(|v| !v.is_normal()) {
        return Err(Failure::usage("--image-mean and --image-std need numbers, and nothing is divided by 0"));
    }
    Ok(Kind::Images {
        input: input.name.clone(),
        files,
        recipe: Recipe { size, mean, std, layout, channels },
    })
}

/// `HxW`.
fn extents(text: &str) -> Result<(usize, usize), Failure> {
    let number = |part: &str| part.parse().ok().filter(|n| (1..=1 << 14).contains(n));
    text.split_once(['x', 'X'])
        .and_then(|(h, w)| Some((number(h)?, number(w)?)))
        .ok_or_else(|| Failure::usage(format!("--resize '{text}' is not HxW, such as 224x224")))
}
