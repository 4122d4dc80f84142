//! Inputs and outputs of `run` and `bench`: which file is which input, and names of output files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_compiler::internals::api::Loaded;
use kiln_compiler::internals::passes::bind::{DimBinding, DimValue};
use kiln_ir::Limits;
use kiln_ir::dim::Symbols;
use kiln_ir::kernel::plan::Port;
use kiln_ir::{Bounds, Dim, Error, Tensor};

use super::failure::Failure;
use kiln_tools::{npy, random};

/// Where inputs come from.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct InputArgs {
    /// The values of one input: a .npy file, a .pb file with a TensorProto, or random[:SEED].
    #[arg(long = "input", value_name = "NAME=FILE")]
    input: Vec<String>,
    /// The values of inputs by name, in one .npz file.
    #[arg(long, value_name = "FILE.npz")]
    inputs: Option<PathBuf>,
    /// The size of an open dimension where inputs are random: else the greatest.
    #[arg(long = "at", value_name = "NAME=N")]
    at: Vec<DimBinding>,
}

enum Given {
    Tensor(Tensor),
    Random(u64),
}

/// Values for all inputs of a model, or for none: then they are random with seed 0.
pub(super) struct Inputs {
    given: BTreeMap<String, Given>,
    /// Sizes of open dimensions.
    at: Vec<(String, i64)>,
}

impl InputArgs {
    /// Reads the files.
    pub(super) fn read(&self, model: &Loaded, limits: &Limits) -> Result<Inputs, Failure> {
        let names: Vec<&str> = model.inputs().into_iter().map(|(name, _)| name).collect();
        let mut given = BTreeMap::new();
        if let Some(path) = &self.inputs {
            let known = |name: &str| names.contains(&name);
            let arrays = npy::read_archive(path, &known)?;
            if arrays.is_empty() {
                return Err(Failure::usage(format!(
                    "{} holds no array for an input; the inputs are {}",
                    path.display(),
                    list(&names)
                )));
            }
            given.extend(arrays.into_iter().map(|(name, tensor)| (name, Given::Tensor(tensor))));
        }
        for argument in &self.input {
            let (name, file) = split(argument, &names)?;
            if given.insert(name.to_owned(), source(file, limits)?).is_some() {
                return Err(Failure::usage(format!("input '{name}' is given twice")));
            }
        }
        let missing: Vec<&str> = names.into_iter().filter(|n| !given.contains_key(*n)).collect();
        if !given.is_empty() && !missing.is_empty() {
            return Err(Failure::usage(format!(
                "no values are given for {}: name a file for each with --input NAME=FILE, or --input NAME=random",
                list(&missing)
            )));
        }
        let mut at = Vec::new();
        for DimBinding { name, value } in &self.at {
            let DimValue::Fixed(n) = value else {
                return Err(Failure::usage(format!("--at {name} is one size, not bounds")));
            };
            at.push((name.clone(), *n));
        }
        Ok(Inputs { given, at })
    }

    /// The files that are read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let of_inputs = self.input.iter().filter_map(|argument| argument.rsplit_once('='));
        of_inputs.map(|(_, file)| PathBuf::from(file)).chain(self.inputs.clone()).collect()
    }
}

/// `NAME=FILE`; the name itself may hold `=`.
fn split<'a>(argument: &'a str, names: &[&str]) -> Result<(&'a str, &'a str), Failure> {
    let matching = argument
        .match_indices('=')
        .map(|(i, _)| (&argument[..i], &argument[i + 1..]))
        .find(|(name, _)| names.contains(name));
    matching.ok_or_else(|| {
        Failure::usage(format!(
            "--input '{argument}' is not NAME=FILE for an input of the model; the inputs are {}",
            list(names)
        ))
    })
}

fn list(names: &[&str]) -> String {
    names.iter().map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ")
}

fn source(file: &str, limits: &Limits) -> Result<Given, Failure> {
    if let Some(rest) = file.strip_prefix("random")
        && (rest.is_empty() || rest.starts_with(':'))
    {
        let seed = rest.strip_prefix(':').map_or(Ok(0), str::parse);
        let seed = seed.map_err(|_| Failure::usage(format!("'{file}': the seed must be a number")))?;
        return Ok(Given::Random(seed));
    }
    let path = Path::new(file);
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => Ok(Given::Tensor(npy::read(path)?)),
        Some("pb") => Ok(Given::Tensor(read_proto(path, limits)?.1)),
        _ => Err(Failure::usage(format!(
            "'{file}' is neither a .npy file, a .pb file nor random[:SEED]; a .npz file goes to --inputs"
        ))),
    }
}

/// Reads a file with a `TensorProto`: its name and values.
pub(super) fn read_proto(path: &Path, limits: &Limits) -> kiln_ir::Result<(String, Tensor)> {
    let bytes =
        std::fs::read(path).map_err(|e| Error::invalid(format!("cannot read {}: {e}", path.display())))?;
    kiln_onnx::tensor_from_bytes(&bytes, limits)
        .map_err(|e| Error { message: format!("{}: {}", path.display(), e.message), ..e })
}

impl Inputs {
    /// Values for every input in order.
    pub(super) fn of(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        let given = tensors.into_iter().map(|(name, tensor)| (name, Given::Tensor(tensor))).collect();
        Self { given, at: Vec::new() }
    }

    /// Symbolic dimensions take the extents that the given tensors have.
    pub(super) fn bind(&self, model: &mut Loaded) -> Result<(), Failure> {
        let mut found: BTreeMap<String, (i64, String)> = BTreeMap::new();
        for (name, fact) in model.inputs() {
            let (Some(Given::Tensor(tensor)), Some(fact)) = (self.given.get(name), fact) else { continue };
            if fact.shape.rank() != tensor.shape.len() {
                return Err(mismatch(name, &fact.ty().to_string(), tensor).into());
            }
            for (dim, &extent) in fact.shape.iter().zip(&tensor.shape) {
                let [symbol] = &dim.symbols()[..] else { continue };
                if *dim != Dim::symbol(symbol) {
                    continue;
                }
                let extent = extent as i64;
                let (first, from) =
                    found.entry(symbol.to_string()).or_insert_with(|| (extent, name.to_owned()));
                if *first != extent {
                    return Err(Error::invalid(format!(
                        "dimension '{symbol}' is {first} in input '{from}' and {extent} in input '{name}'"
                    ))
                    .into());
                }
            }
        }
        let unbound = model.unbound();
        for (symbol, (extent, _)) in found.into_iter().filter(|(s, _)| unbound.contains(s)) {
            model.bind(&symbol, extent);
        }
        Ok(())
    }

    /// Whether every input is random because none is given.
    pub(super) fn none_given(&self) -> bool {
        self.given.is_empty()
    }

    /// The open dimensions: what is asked for, what the given tensors have, else the greatest.
    pub(super) fn sizes(&self, ports: &[Port], bounds: &Bounds) -> Result<Symbols, Failure> {
        let mut sizes: Symbols = bounds.iter().map(|(name, bound)| (name.clone(), bound.hi)).collect();
        for (name, n) in &self.at {
            let Some((symbol, bound)) = bounds.get_key_value(&**name) else {
                let all: Vec<&str> = bounds.keys().map(|name| &**name).collect();
                return Err(Failure::usage(format!(
                    "--at {name}={n}: the model has no open dimension '{name}'; it has {}",
                    if all.is_empty() { "none".to_owned() } else { list(&all) }
                )));
            };
            if !(bound.lo..=bound.hi).contains(n) {
                return Err(Failure::usage(format!(
                    "--at {name}={n} is outside the bounds {}..{}",
                    bound.lo, bound.hi
                )));
            }
            sizes.insert(symbol.clone(), *n);
        }
        for port in ports {
            let Some(Given::Tensor(tensor)) = self.given.get(&port.name) else { continue };
            for (dim, extent) in port.ty.shape.iter().zip(&tensor.shape) {
                if let [symbol] = &dim.symbols()[..]
                    && *dim == Dim::symbol(symbol)
                {
                    sizes.insert(symbol.clone(), *extent as i64);
                }
            }
        }
        Ok(sizes)
    }

    /// One tensor per port, checked against it for the open dimensions that the tensors have.
    pub(super) fn tensors(mut self, ports: &[Port], bounds: &Bounds) -> Result<Vec<Tensor>, Failure> {
        let sizes = self.sizes(ports, bounds)?;
        let mut out = Vec::with_capacity(ports.len());
        for (position, port) in ports.iter().enumerate() {
            let extent = |d: &Dim| d.eval(&sizes).and_then(|n| usize::try_from(n).ok());
            let Some(shape) = port.ty.shape.iter().map(extent).collect::<Option<Vec<usize>>>() else {
                return Err(Error::internal(format!("input '{}' has no shape", port.name)).into());
            };
            out.push(match self.given.remove(&port.name).unwrap_or(Given::Random(0)) {
                Given::Tensor(tensor) if tensor.dtype == port.ty.dtype && tensor.shape == shape => tensor,
                Given::Tensor(tensor) => {
                    return Err(mismatch(&port.name, &port.ty.to_string(), &tensor).into());
                }
                Given::Random(seed) => random::tensor(port.ty.dtype, &shape, seed, position)?,
            });
        }
        Ok(out)
    }
}

fn mismatch(name: &str, wanted: &str, found: &Tensor) -> Error {
    Error::invalid(format!("input '{name}' must be {wanted}, the file holds {}", found.ty()))
}

/// A file name for each output: characters outside `[A-Za-z0-9_.-]` become `_`, and no two are the same, not
/// even on a file system that ignores case.
pub(super) fn file_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut taken = std::collections::BTreeSet::new();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    names
        .into_iter()
        .map(|name| {
            let mut stem: String = name.chars().take(200).map(safe).collect();
            if stem.is_empty() {
                stem.push('_');
            }
            let file = (0..)
                .map(|i| if i == 0 { format!("{stem}.npy") } else { format!("{stem}_{i}.npy") })
                .find(|file| taken.insert(file.to_ascii_lowercase()));
            file.unwrap_or_default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_names_stay_in_the_folder_and_apart() {
        let names = file_names(["a/b", "a:b", "../../etc/passwd", "", "Y", "y", "ok-1.0"]);
        assert_eq!(
            names,
            ["a_b.npy", "a_b_1.npy", ".._.._etc_passwd.npy", "_.npy", "Y.npy", "y_1.npy", "ok-1.0.npy"]
        );
    }

    #[test]
    fn names_may_hold_equal_signs() {
        assert_eq!(split("a=b=c.npy", &["a=b"]).unwrap(), ("a=b", "c.npy"));
        assert_eq!(split("x=random:3", &["x"]).unwrap(), ("x", "random:3"));
        assert_eq!(split("z=c.npy", &["x"]).unwrap_err().exit_code(), 2);
    }
}
