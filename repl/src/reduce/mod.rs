//! Shrinks a model that fails or differs to a few nodes that still do.
//!
//! ```text
//! judge     the whole model: it must fail, or differ from the interpreter
//! end       the first tensor up to which the model does so: the suspect, else by halves
//! begin     the node that makes it, then those before it, until that is enough: what they read are arguments, with what
//!           flowed there
//! minimise  one node after the other becomes an argument, as long as what is left does so
//! ```

mod judge;
mod part;
mod reduced;
mod save;

pub(crate) use judge::Verdict;
pub(crate) use reduced::Reduced;
pub(crate) use save::save;

use std::collections::{BTreeMap, BTreeSet};

use kiln_compiler::Tensor;
use kiln_onnx::{Document, Extent};
use kiln_tools::random;

use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::models::Last;
use crate::session::Session;
use part::Part;

/// Reduces a model; nothing where it compiles and agrees with the interpreter.
pub(crate) fn reduce(session: &mut Session, name: &str, tolerance: f64) -> Result<Option<Reduced>> {
    let document = session.model(name)?.document()?;
    let last = match session.model(name)?.last.clone() {
        Some(last) => last,
        None => declared(session, &document)?,
    };
    let judge = judge::Judge { settings: session.settings_for(Some(&last)), tolerance };
    let whole = judge.of(session, &document, &last.inputs)?;
    if whole == Verdict::Fine {
        return Ok(None);
    }
    let before = document.nodes().len();
    let does = |session: &mut Session, part: &Part| -> Result<bool> {
        if interrupt::asked() {
            return Err(Fault::interrupted());
        }
        let Some((document, inputs)) = part.document()? else { return Ok(false) };
        Ok(judge.of(session, &document, &inputs)?.is_like(&whole))
    };
    let mut values: BTreeMap<String, Tensor> = last.inputs.iter().cloned().collect();
    judge.values(session, &document, &last.inputs, &mut values)?;
    let end = end(session, &document, &values, &whole, &does)?;
    let mut part = begin(session, &document, &values, end, &does)?;
    minimise(session, &mut part, &does)?;
    let found = part.document()?;
    let (document, inputs) = found.ok_or_else(|| Fault::new("the small model lacks a tensor"))?;
    let verdict = judge.of(session, &document, &inputs)?;
    Ok(Some(Reduced { document, inputs, verdict, before }))
}

type Does<'d> = dyn Fn(&mut Session, &Part) -> Result<bool> + 'd;

/// The position of the first node up to which the model does it.
fn end(
    session: &mut Session,
    document: &Document,
    values: &BTreeMap<String, Tensor>,
    whole: &Verdict,
    does: &Does<'_>,
) -> Result<usize> {
    let nodes = document.nodes();
    let up_to = |i: usize| Part::up_to(document, values, i);
    if let Some(i) = nodes.iter().position(|n| whole.names(n.label(), n.outputs()))
        && does(session, &up_to(i))?
    {
        return Ok(i);
    }
    let (mut low, mut high) = (0, nodes.len().saturating_sub(1));
    while low < high {
        let middle = usize::midpoint(low, high);
        if does(session, &up_to(middle))? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(high)
}

/// The node at `end` with as many before it as it takes.
fn begin<'d>(
    session: &mut Session,
    document: &'d Document,
    values: &'d BTreeMap<String, Tensor>,
    end: usize,
    does: &Does<'_>,
) -> Result<Part<'d>> {
    let mut part = Part::alone(document, values, end);
    loop {
        if does(session, &part)? {
            return Ok(part);
        }
        if !part.grow() {
            return Ok(Part::up_to(document, values, end));
        }
    }
}

/// Leaves out what is not needed, one node at a time.
fn minimise(session: &mut Session, part: &mut Part, does: &Does<'_>) -> Result<()> {
    loop {
        let mut smaller = false;
        for node in part.nodes() {
            let less = part.without(node);
            if less.nodes().len() < part.nodes().len() && does(session, &less)? {
                *part = less;
                smaller = true;
            }
        }
        if !smaller {
            return Ok(());
        }
    }
}

/// Random tensors for the arguments that a file declares, whether or not it can be read further.
fn declared(session: &Session, document: &Document) -> Result<Last> {
    let mut inputs = Vec::new();
    let mut dims = BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (position, input) in document.inputs().into_iter().enumerate() {
        if !seen.insert(input.name.clone()) {
            continue;
        }
        let dtype = kiln_ir::DType::parse(&input.dtype);
        let dtype = dtype.ok_or_else(|| Fault::new(format!("input '{}' is {}", input.name, input.dtype)))?;
        let mut shape = Vec::new();
        for extent in input.shape.unwrap_or_default() {
            let n = match extent {
                Extent::Fixed(n) => n,
                Extent::Open(name) => {
                    let n = session.settings.size(&name).unwrap_or(1);
                    dims.insert(name, n);
                    n
                }
            };
            shape.push(usize::try_from(n).unwrap_or(1));
        }
        inputs.push((input.name, random::tensor(dtype, &shape, session.settings.seed, position)?));
    }
    Ok(Last { inputs, dims })
}
