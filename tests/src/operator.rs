//! One graph as machine code, for the tests of `kiln-ir`.
//!
//! Those tests are built with a copy of `kiln_ir` of their own, whose types are not the compiler's: the graph comes as
//! text, tensors as plain parts.

use kiln_compiler::internals::pipeline;
use kiln_ir::{DType, Tensor};

use crate::stages::{options, run_jit};
use crate::{Outcome, text};

/// A tensor: the name of its element type, its extents, its elements in row-major order, little-endian.
pub type Parts = (String, Vec<usize>, Vec<u8>);

/// Without optimisation for the least machine, and with all of it for this one.
const POINTS: [(&str, u8); 2] = [("baseline", 0), ("native", 2)];

/// What a graph in its text form computes, compiled in several ways; each with its name.
pub fn run(graph: &str, inputs: &[Parts]) -> Outcome<Vec<(String, Vec<Parts>)>> {
    let graph = kiln_ir::graph::parse(graph).map_err(text)?;
    let inputs = inputs.iter().map(tensor).collect::<Outcome<Vec<_>>>()?;
    let point = |(cpu, opt)| {
        let name = format!("JIT for {cpu} at --opt {opt}");
        let options = options(cpu, opt)?;
        let outputs = pipeline::compile(graph.clone(), &options)
            .map_err(text)
            .and_then(|plan| run_jit(&plan, &options, 1, &inputs))
            .map_err(|e| format!("{name}: {e}"))?;
        Ok((name, outputs.into_iter().map(parts).collect()))
    };
    POINTS.into_iter().map(point).collect()
}

fn tensor((dtype, shape, data): &Parts) -> Outcome<Tensor> {
    let dtype = DType::parse(dtype).ok_or_else(|| format!("no element type is called {dtype}"))?;
    Tensor::new(dtype, shape.clone(), data.clone().into()).map_err(text)
}

fn parts(tensor: Tensor) -> Parts {
    (tensor.dtype.to_string(), tensor.shape, tensor.data.to_vec())
}
