//! Reference interpreters: the living definition of what graphs, programs and plans mean.
//!
//! They are written to be read and to be right. Sums of f32 are accumulated in f64 and rounded once, so that the
//! result is a reference for code that adds in any order.

mod code;
mod contract;
mod forms;
pub mod graph;
pub mod kernel;
mod level;
pub mod plan;
mod procedure;
pub mod scalar;

pub(crate) use code::{get as element, put as set_element};

use std::sync::Arc;

use crate::dim::{Bound, Bounds, Dim};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

pub use crate::dim::Symbols;

/// An error in a kernel: its name, and the model's nodes that it computes.
fn of_kernel(e: Error, name: &str, form: &str, nodes: &[String]) -> Error {
    let e = e.at(name, form);
    let others = nodes.iter().any(|n| n != name) && e.hint.is_empty();
    if others { e.hint(format!("the kernel computes {}", nodes.join(", "))) } else { e }
}

/// Checks arguments against declared types and finds the value of every symbolic dimension in them. A symbol must
/// have one value throughout, within its bounds.
pub fn bind(declared: &[(&str, &TensorType)], arguments: &[Tensor], bounds: &Bounds) -> Result<Symbols> {
    let shapes: Vec<_> = arguments.iter().map(|t| (t.dtype, &*t.shape)).collect();
    bind_shapes(declared, &shapes, bounds)
}

/// [`bind`] for arguments of these types and shapes.
pub fn bind_shapes(
    declared: &[(&str, &TensorType)],
    arguments: &[(DType, &[usize])],
    bounds: &Bounds,
) -> Result<Symbols> {
    if declared.len() != arguments.len() {
        return Err(Error::invalid(format!(
            "{} inputs are given, {} are needed",
            arguments.len(),
            declared.len()
        )));
    }
    let mut symbols = Symbols::new();
    for ((name, ty), (dtype, shape)) in declared.iter().zip(arguments) {
        if *dtype != ty.dtype || shape.len() != ty.shape.rank() {
            let found = TensorType::new(*dtype, Shape::of(shape));
            return Err(Error::invalid(format!("input '{name}' must be {ty}, found {found}")));
        }
        for (dim, &extent) in ty.shape.iter().zip(*shape) {
            let [symbol] = &dim.symbols()[..] else { continue };
            if *dim == Dim::symbol(symbol) {
                symbols.entry(symbol.clone()).or_insert(extent as i64);
            }
        }
    }
    for ((name, ty), (_, shape)) in declared.iter().zip(arguments) {
        for (axis, (dim, &extent)) in ty.shape.iter().zip(*shape).enumerate() {
            match dim.eval(&symbols) {
                Some(value) if value == extent as i64 => {}
                Some(value) => {
                    let why = if dim.as_const().is_some() { String::new() } else { format!(" ({dim})") };
                    return Err(Error::invalid(format!(
                        "input '{name}' has extent {extent} on axis {axis}, {value}{why} needed"
                    )));
                }
                None => {
                    return Err(Error::unsupported(format!(
                        "extent {dim} of input '{name}': no input has its symbols as an extent"
                    )));
                }
            }
        }
    }
    symbols.iter().try_for_each(|(symbol, value)| check_bound(symbol, *value, bounds))?;
    Ok(symbols)
}

/// Gives a size that a kernel has counted its value.
fn count(symbols: &mut Symbols, bounds: &Bounds, name: &Arc<str>, value: i64) -> Result<()> {
    check_bound(name, value, bounds)?;
    symbols.insert(name.clone(), value);
    Ok(())
}

fn check_bound(symbol: &str, value: i64, bounds: &Bounds) -> Result<()> {
    if let Some(Bound { lo, hi, .. }) = bounds.get(symbol)
        && !(*lo..=*hi).contains(&value)
    {
        return Err(Error::invalid(format!("dimension '{symbol}' is {value}, outside {lo}..{hi}")));
    }
    Ok(())
}

/// Refuses sizes for which an expression that must be 0 is not. What is not counted yet is looked at later.
fn check_assumed(assumed: &[Dim], symbols: &Symbols) -> Result<()> {
    let known = |zero: &&Dim| zero.symbols().iter().all(|s| symbols.contains_key(s));
    match assumed.iter().filter(known).find(|zero| zero.eval(symbols) != Some(0)) {
        Some(zero) => Err(Error::invalid(format!("sizes that must agree do not: {zero} is not 0"))),
        None => Ok(()),
    }
}
