//! The models that the repository ships, with their inputs and what ONNX Runtime makes of them.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use kiln_compiler::internals::passes::bind::{self, DimBinding, DimValue};
use kiln_ir::Limits;
use kiln_ir::graph::Graph;
use kiln_ir::{Tensor, TensorType};

use crate::{Outcome, random, repository, text};

/// Seed of the inputs behind the expected outputs.
const SEED: u64 = 1;

/// A model file.
#[derive(Clone, Debug)]
pub struct Model {
    /// The file's stem: also a C identifier.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// Every shipped model, by name.
pub fn shipped() -> Vec<Model> {
    let mut models = Vec::new();
    for folder in ["seed_cifar10", "tiny"] {
        models.extend(in_folder(&repository().join("tests/models").join(folder)));
    }
    assert!(models.len() >= 11, "shipped models are missing");
    models
}

/// Those whose interpretation takes next to no time.
pub fn smallest() -> Vec<Model> {
    let wanted = ["wm_005_aug_float", "tiny_kws_dscnn", "tiny_ad_autoencoder", "mnist_cnn"];
    shipped().into_iter().filter(|m| wanted.contains(&&*m.name)).collect()
}

/// The ONNX files of a folder, by name.
pub fn in_folder(folder: &Path) -> Vec<Model> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
    let mut models: Vec<Model> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .map(|path| Model { name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path })
        .collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    models
}

impl Model {
    /// The imported graph; open dimensions are 1.
    pub fn graph(&self) -> Outcome<Graph> {
        let mut graph = kiln_onnx::load(&self.path, &Limits::default()).map_err(text)?;
        let ones: Vec<DimBinding> = bind::symbols(&graph)
            .iter()
            .map(|s| DimBinding { name: s.to_string(), value: DimValue::Fixed(1) })
            .collect();
        bind::run(&mut graph, &ones).map_err(text)?;
        Ok(graph)
    }

    /// What ONNX Runtime gives for [`inputs`].
    pub fn expected(&self) -> Outcome<Vec<Tensor>> {
        Ok(vec![read_npy(&self.path.with_extension("expected.npy"))?])
    }
}

/// Seeded inputs of a graph without open dimensions.
pub fn inputs(graph: &Graph) -> Outcome<Vec<Tensor>> {
    let types = graph.inputs().iter().map(|id| graph.value(*id)).map(|value| {
        value
            .fact
            .as_ref()
            .map(kiln_ir::Fact::ty)
            .ok_or_else(|| format!("input '{}' has no type", value.name))
    });
    inputs_of(&types.collect::<Outcome<Vec<_>>>()?)
}

/// Seeded inputs of these types.
pub fn inputs_of(types: &[TensorType]) -> Outcome<Vec<Tensor>> {
    let one = |(i, ty): (usize, &TensorType)| {
        let shape = ty.shape.as_const().ok_or_else(|| format!("input {i} has the open type {ty}"))?;
        random::tensor(ty.dtype, &shape, SEED, i).map_err(text)
    };
    types.iter().enumerate().map(one).collect()
}

/// A tensor of f32 from a .npy file.
pub fn read_npy(path: &Path) -> Outcome<Tensor> {
    let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let npy = npyz::NpyFile::new(BufReader::new(file)).map_err(text)?;
    let shape: Vec<usize> = npy.shape().iter().map(|&e| e as usize).collect();
    Ok(Tensor::from_vec(&shape, npy.into_vec::<f32>().map_err(text)?))
}
