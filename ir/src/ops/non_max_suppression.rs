//! `NonMaxSuppression`: of boxes that overlap the one with the best score.
//!
//! Spec: ONNX NonMaxSuppression, versions 10 and 11. Rows of batch, class and box; of a class the better boxes come first, of
//! equal ones the first. Left out, the number of boxes of a class is 0, the threshold of overlaps 0, and there is no least score.
//! How many rows there are is counted when the model runs, and is at most batches times classes times boxes of a class, or
//! what is given as a bound. Made of `Suppression`.

use super::counted::{Chain, Suppression, suppressed};
use super::operand;
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef, Patch};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `NonMaxSuppression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonMaxSuppression {
    /// Whether boxes are a centre, a width and a height, not two corners.
    pub centred: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=5, 1..=1)?;
    Ok(Box::new(NonMaxSuppression { centred: node.flag("center_point_box", false)? }))
}

/// `NonMaxSuppression`.
pub const DEF: OpDef =
    OpDef { name: "NonMaxSuppression", domain: "", since: (10, 11), parse, unsupported: "" };

impl NonMaxSuppression {
    fn rows(self, inputs: &[Option<&Tensor>]) -> Result<Vec<[i64; 3]>> {
        Suppression { centred: self.centred, each: i64::MAX, most: 0 }.chosen(inputs)
    }
}

impl Op for NonMaxSuppression {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let flag = self.centred.then(|| ("center_point_box".to_owned(), Attr::Int(1)));
        flag.into_iter().collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        suppressed(operand::fact(inputs, 0)?, operand::fact(inputs, 1)?)?;
        let known: Option<Vec<Option<&Tensor>>> =
            inputs.iter().map(|f| f.map_or(Some(None), |f| f.tensor().map(Some))).collect();
        let Some(known) = known else {
            return Err(Error::unsupported(
                "boxes are counted at run time, which a body of control flow does not support",
            ));
        };
        Ok(vec![Fact::new(DType::I64, Shape::of(&[self.rows(&known)?.len(), 3]))])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let rows = self.rows(inputs)?;
        Ok(vec![Tensor::from_vec(&[rows.len(), 3], rows.concat())])
    }

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        let given = |i: usize| node.inputs.get(i).copied().flatten().map(|_| node.fact(i)).transpose();
        let facts = (0..5).map(given).collect::<Result<Vec<_>>>()?;
        if facts.iter().flatten().all(|f| f.tensor().is_some()) {
            return Ok(None);
        }
        let [batches, classes, boxes] = suppressed(node.fact(0)?, node.fact(1)?)?;
        let limit = match facts[2] {
            None => Some(0),
            Some(fact) => fact.tensor().map(Tensor::to_i64s).transpose()?.and_then(|v| v.first().copied()),
        };
        let all = counts.most(&boxes)?;
        let each = limit.map_or(all, |limit| limit.clamp(0, all));
        let all = counts.most(&batches)?.saturating_mul(counts.most(&classes)?).saturating_mul(each);
        let most = counts.given(&node.told(0), 0).map_or(all, |most| most.min(all));
        let mut chain = Chain::new(node);
        let operands: Vec<_> = (0..node.inputs.len()).map(|i| chain.input(i).ok()).collect();
        let found = chain.optional(Suppression { centred: self.centred, each, most }, &operands, 2);
        let result = &node.graph.value(node.outputs[0]).name;
        let n = chain.sizes(counts, found[1], &[(format!("{result}_count"), most)]);
        let y = chain.prefix(found[0], n, 0);
        Ok(Some(chain.finish(&[y])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::run;

    fn scene() -> [Tensor; 5] {
        let boxes = vec![
            0f32, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, -0.1, 1.0, 0.9, 0.0, 10.0, 1.0, 11.0, 0.0, 10.1,
            1.0, 11.1, 0.0, 100.0, 1.0, 101.0,
        ];
        let scores = vec![0.9f32, 0.75, 0.6, 0.95, 0.5, 0.3, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5];
        [
            Tensor::from_vec(&[1, 6, 4], boxes),
            Tensor::from_vec(&[1, 2, 6], scores),
            Tensor::from_vec(&[1], vec![4i64]),
            Tensor::from_vec(&[1], vec![0.5f32]),
            Tensor::from_vec(&[1], vec![0.15f32]),
        ]
    }

    #[test]
    fn the_best_of_those_that_overlap() {
        let scene = scene();
        let inputs: Vec<Option<&Tensor>> = scene.iter().map(Some).collect();
        let y = NonMaxSuppression { centred: false }.eval(&inputs).unwrap();
        let rows = [[0i64, 0, 3], [0, 0, 0], [0, 0, 5], [0, 1, 4], [0, 1, 5], [0, 1, 2]];
        assert_eq!(y[0], Tensor::from_vec(&[6, 3], rows.concat()));
        // Without a number there is none.
        let none = NonMaxSuppression { centred: false }.eval(&inputs[..2]).unwrap();
        assert_eq!(none[0].shape, [0, 3]);
    }

    #[test]
    fn kernels_find_the_same_and_drop_what_is_too_much() {
        let scene = scene();
        let all: Vec<&Tensor> = scene.iter().collect();
        for (centred, each, most) in [(false, 4, 8), (true, 4, 8), (false, 6, 12), (false, 1, 2)] {
            let op = Suppression { centred, each, most };
            for known in [&[][..], &[2, 3, 4]] {
                let y = run(&op, &all, known).unwrap();
                assert!(y[1].to_i64s().unwrap()[0] <= most);
            }
        }
    }
}
