//! `Transpose`: permutes the axes.
//!
//! Spec: ONNX Transpose, versions 1 to 24. Axis `i` of the result is axis `perm[i]` of the input; without `perm`
//! the axes are reversed.

use super::{movement, operand};
use crate::error::{Error, Result};
use crate::kernel::{Index, Lowering};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::{bail_invalid, tensor};

/// `Transpose`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transpose {
    /// The input's axis of each result axis; reversed when left out.
    pub perm: Option<Vec<i64>>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    Ok(Box::new(Transpose { perm: node.ints("perm")? }))
}

/// `Transpose`.
pub const DEF: OpDef = OpDef { name: "Transpose", domain: "", since: (1, 24), parse, unsupported: "" };

impl Transpose {
    fn perm(&self, rank: usize) -> Result<Vec<usize>> {
        let Some(perm) = &self.perm else { return Ok((0..rank).rev().collect()) };
        let axes: Vec<usize> = perm.iter().filter_map(|&a| usize::try_from(a).ok()).collect();
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        if perm.len() != rank || !sorted.into_iter().eq(0..rank) {
            bail_invalid!("attribute 'perm' {perm:?} is no permutation of {rank} axes");
        }
        Ok(axes)
    }
}

impl Op for Transpose {
    fn name(&self) -> &'static str {
        "Transpose"
    }

    fn attrs(&self) -> Attrs {
        self.perm.iter().map(|perm| ("perm".to_owned(), Attr::Ints(perm.clone()))).collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        let perm = self.perm(x.shape.rank())?;
        let shape = perm.iter().map(|&a| x.shape[a].clone()).collect();
        let known = operand::moved(x, |positions| Ok(self.eval(&[Some(positions)])?.swap_remove(0)));
        Ok(vec![operand::with_dims(x.dtype, shape, known)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let perm = self.perm(x.shape.len())?;
        let own = tensor::row_major(&x.shape);
        let shape: Vec<usize> = perm.iter().map(|&a| x.shape[a]).collect();
        let y = movement::gather(x, &shape, &[], |i| {
            Ok(Some(i.iter().zip(&perm).map(|(&i, &axis)| i * own[axis]).sum()))
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let perm = self.perm(cx.ty(x).shape.rank())?;
        let mut inverse = vec![0; perm.len()];
        perm.iter().enumerate().for_each(|(i, &axis)| inverse[axis] = i);
        if inverse.len() != cx.ty(y).shape.rank() {
            return Err(Error::internal("ranks differ"));
        }
        movement::copy_to(cx, y, x, |loops| inverse.iter().map(|&i| Index::from(loops[i])).collect());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DType, Shape};

    #[test]
    fn permutes_or_reverses() {
        let x = Tensor::from_vec(&[1, 2, 3], (0..6i16).collect());
        let y = Transpose::default().eval(&[Some(&x)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[3, 2, 1], vec![0i16, 3, 1, 4, 2, 5]));
        let y = Transpose { perm: Some(vec![2, 0, 1]) }.eval(&[Some(&x)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[3, 1, 2], vec![0i16, 3, 1, 4, 2, 5]));
    }

    #[test]
    fn perm_must_be_a_permutation() {
        let x = Fact::new(DType::F32, Shape::of(&[1, 2, 3]));
        for perm in [vec![0, 1], vec![0, 1, 1], vec![0, 1, 3], vec![-1, 0, 1]] {
            assert!(Transpose { perm: Some(perm) }.infer(&[Some(&x)]).is_err());
        }
    }
}
