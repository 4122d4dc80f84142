//! `--open-inputs`: extents of arguments that become open dimensions, so that a model which declares all of them runs as one
//! that leaves them open would.

use std::sync::Arc;

use kiln_compiler::internals::api::{Loaded, Planned};
use kiln_compiler::internals::passes::bind::{DimBinding, DimValue};
use kiln_ir::{Bound, Dim, ErrorKind, Fact, Shape, Tensor};

use super::failure::Failure;

/// How much larger than the given tensors an open dimension may be.
const MORE: i64 = 3;

/// Which axes are open: of which arguments, and how many of each.
const WAYS: [fn(usize, usize) -> bool; 3] =
    [|_, _| true, |input, _| input == 0, |input, axis| input == 0 && axis == 0];

/// Plans the model with all extents of the arguments open; where that is refused (an operator may ask for four of something),
/// with those of the first, and then with its outermost alone. Extents that are equal in `given` are one dimension. One that
/// is 0 or 1 stays: it may be broadcast.
pub(super) fn plan(loaded: &Loaded, given: &[(String, Tensor)]) -> Result<Planned, Failure> {
    let mut refused = None;
    for open in WAYS {
        let model = with(loaded.clone(), given, open);
        match model.plan().map_err(Failure::from) {
            Err(Failure::Errors(errors))
                if matches!(errors.kind(), ErrorKind::Unsupported | ErrorKind::Invalid) =>
            {
                refused = Some(errors);
            }
            ended => return ended,
        }
    }
    Err(refused.map_or_else(|| Failure::usage("there is nothing to open"), Failure::Errors))
}

fn with(mut model: Loaded, given: &[(String, Tensor)], open: fn(usize, usize) -> bool) -> Loaded {
    let mut bounds: Vec<DimBinding> = Vec::new();
    for (position, id) in model.graph.inputs().to_vec().into_iter().enumerate() {
        let value = model.graph.value(id);
        let tensor = given.iter().find(|(name, _)| *name == value.name).map(|(_, tensor)| tensor);
        let (Some(tensor), Some(fact)) = (tensor, value.fact.clone()) else { continue };
        let mut name = |(axis, (dim, extent)): (usize, (&Dim, &usize))| {
            if *extent < 2 || !open(position, axis) {
                return if dim.as_const().is_some() { dim.clone() } else { Dim::Const(*extent as i64) };
            }
            let symbol: Arc<str> = format!("extent_{extent}").into();
            let value = DimValue::Open(Bound::from((1, *extent as i64 + MORE)));
            let binding = DimBinding { name: symbol.to_string(), value };
            if !bounds.contains(&binding) {
                bounds.push(binding);
            }
            Dim::symbol(&symbol)
        };
        let shape: Shape = fact.shape.iter().zip(&tensor.shape).enumerate().map(&mut name).collect();
        model.graph.set_fact(id, Fact::new(fact.dtype, shape));
    }
    model.options.dims.extend(bounds);
    model
}
