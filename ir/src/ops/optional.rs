//! `Optional`, `OptionalGetElement` and `OptionalHasElement` of tensors that are there: the tensor, and true.
//!
//! Spec: ONNX Optional, version 15; OptionalGetElement and OptionalHasElement, versions 15 and 18. Without an input nothing is
//! there. Which of both it is, is known when the model is compiled; values of optional type are no inputs or results.

use super::composed::{Composed, Composer, Value, composed};
use super::identity;
use crate::error::Result;
use crate::op::{Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::{bail_invalid, bail_unsupported};

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optional {
    name: &'static str,
}

fn parse(node: &mut NodeProto<'_>, name: &'static str) -> Result<Box<dyn Op>> {
    node.arity(0..=1, 1..=1)?;
    let is_there = node.inputs.contains(&true);
    if name == MAKE.name && !is_there {
        bail_unsupported!("an optional value without an element is not supported");
    }
    if name == GET.name && !is_there {
        bail_invalid!("there is no element to get");
    }
    Ok(Box::new(Optional { name }))
}

/// `Optional`.
pub const MAKE: OpDef = OpDef {
    name: "Optional",
    domain: "",
    since: (15, 15),
    parse: |node| parse(node, "Optional"),
    unsupported: "values that are inputs or results; sequences",
};

/// `OptionalGetElement`.
pub const GET: OpDef = OpDef {
    name: "OptionalGetElement",
    since: (15, 18),
    parse: |node| parse(node, "OptionalGetElement"),
    ..MAKE
};

/// `OptionalHasElement`.
pub const HAS: OpDef = OpDef {
    name: "OptionalHasElement",
    since: (15, 18),
    parse: |node| parse(node, "OptionalHasElement"),
    ..MAKE
};

impl Op for Optional {
    fn name(&self) -> &'static str {
        self.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    composed!();
}

impl Composed for Optional {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        match (self.name == HAS.name, inputs.first().copied().flatten()) {
            (true, x) => Ok(vec![cx.constant(Tensor::from_bools(&[], [x.is_some()]))]),
            (false, Some(x)) => Ok(vec![cx.apply(&identity::DEF, &[], &[x])?]),
            (false, None) => bail_invalid!("there is no element"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{parse, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn what_is_there_and_what_is_not() {
        let x = sample(&[2, 3], 5);
        for name in ["Optional", "OptionalGetElement"] {
            assert_eq!(
                run(&*parse(name, 15, &[], 1, 1).unwrap(), &[&x], &[]).unwrap(),
                std::slice::from_ref(&x)
            );
        }
        let has = |count: usize, inputs: &[&Tensor]| {
            run(&*parse("OptionalHasElement", 18, &[], count, 1).unwrap(), inputs, &[]).unwrap().remove(0)
        };
        assert_eq!(has(1, &[&x]), Tensor::from_bools(&[], [true]));
        assert_eq!(has(0, &[]), Tensor::from_bools(&[], [false]));
        assert!(parse("OptionalGetElement", 18, &[], 0, 1).is_err());
    }
}
