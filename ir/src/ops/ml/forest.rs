//! Decision trees as tables, all trees of all samples one level at a time.
//!
//! A node asks whether a feature is at most a number (or equal to one) and leads to one of two others; a leaf leads to itself. So
//! after as many steps as the deepest tree has levels every tree of every sample is at its leaf:
//!
//! ```text
//! at    [N, trees]      the node where each is
//! step  at = yes[at] if x[feature[at]] <= split[at] else no[at]
//! ```

use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::ops::composed::{Composer, Value};
use crate::ops::{binary, gather_elements, unary, where_};
use crate::tensor::Tensor;
use crate::types::DType;

/// What a node asks of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    AtMost,
    Less,
    AtLeast,
    Greater,
    Equal,
    Differs,
}

/// A node that asks; what is no number goes to `no` unless `missing`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ask {
    pub(super) rule: Rule,
    pub(super) feature: usize,
    pub(super) split: f64,
    pub(super) missing: bool,
    pub(super) yes: usize,
    pub(super) no: usize,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Ask(Ask),
    /// Targets and their weights.
    Leaf(Vec<(usize, f64)>),
}

/// How trees combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Average,
    Sum,
    Min,
    Max,
}

/// Trees over one list of nodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Forest {
    pub(super) nodes: Vec<Node>,
    pub(super) roots: Vec<usize>,
    pub(super) targets: usize,
}

impl Forest {
    /// Checks that links and targets exist and that no node leads back to itself; gives the levels of the deepest tree.
    pub(super) fn levels(&self) -> Result<usize> {
        // Every node is visited once, its children before it.
        let mut depth: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut open = vec![false; self.nodes.len()];
        let mut stack: Vec<usize> = self.roots.clone();
        while let Some(&at) = stack.last() {
            let Some(node) = self.nodes.get(at) else {
                bail_invalid!("a tree leads to node {at}, which does not exist")
            };
            let ask = match node {
                Node::Leaf(weights) => {
                    if let Some((target, _)) = weights.iter().find(|(target, _)| *target >= self.targets) {
                        bail_invalid!("a leaf has target {target} of {}", self.targets);
                    }
                    depth[at] = Some(0);
                    stack.pop();
                    continue;
                }
                Node::Ask(ask) => ask,
            };
            if depth[at].is_some() {
                stack.pop();
                continue;
            }
            let waiting: Vec<usize> =
                [ask.yes, ask.no].into_iter().filter(|n| depth.get(*n).is_none_or(Option::is_none)).collect();
            if waiting.is_empty() {
                let below = [ask.yes, ask.no].map(|n| depth[n].unwrap_or(0));
                depth[at] = Some(1 + below[0].max(below[1]));
                open[at] = false;
                stack.pop();
                continue;
            }
            if std::mem::replace(&mut open[at], true) {
                bail_invalid!("node {at} of a tree leads back to itself");
            }
            stack.extend(waiting);
        }
        Ok(self.roots.iter().filter_map(|r| depth[*r]).max().unwrap_or(0))
    }

    /// Sums, means or ends of the leaves' weights: `[N, targets]` for samples `[N, columns]`.
    pub(super) fn run(&self, cx: &mut Composer<'_>, x: Value, how: Aggregate) -> Result<Value> {
        let levels = self.levels()?;
        let [samples, columns] = cx.extents(x, "samples")?[..] else {
            return Err(Error::internal("no matrix"));
        };
        let trees = self.roots.len();
        if trees == 0 {
            bail_invalid!("there are no trees");
        }
        let tables = self.tables(cx, x, columns)?;
        let roots = self.roots.iter().map(|r| *r as i32).collect();
        let roots = cx.constant(Tensor::from_vec(&[1, trees], roots));
        let shape = cx.integers(&[samples, trees as i64]);
        let mut at = cx.apply(&crate::ops::expand::DEF, &[], &[roots, shape])?;
        for _ in 0..levels {
            at = tables.step(cx, x, at)?;
        }
        let mut weights = vec![0.0; self.nodes.len() * self.targets];
        let rest = match how {
            Aggregate::Min => f64::from(f32::MAX),
            Aggregate::Max => f64::from(f32::MIN),
            _ => 0.0,
        };
        weights.fill(rest);
        for (i, node) in self.nodes.iter().enumerate() {
            let Node::Leaf(list) = node else { continue };
            for (target, weight) in list {
                let to = &mut weights[i * self.targets + target];
                *to = match how {
                    Aggregate::Min => to.min(*weight),
                    Aggregate::Max => to.max(*weight),
                    _ => *to + weight,
                };
            }
        }
        let weights = super::table(cx, x, [self.nodes.len(), self.targets], weights)?;
        let leaves = cx.gather(weights, at, 0)?;
        match how {
            Aggregate::Sum => cx.sum(leaves, &[1]),
            Aggregate::Average => {
                let sum = cx.sum(leaves, &[1])?;
                cx.times(sum, 1.0 / trees as f64)
            }
            Aggregate::Min => cx.reduce(&crate::ops::reduce::MIN, leaves, &[1]),
            Aggregate::Max => cx.reduce(&crate::ops::reduce::MAX, leaves, &[1]),
        }
    }

    fn tables(&self, cx: &mut Composer<'_>, x: Value, columns: i64) -> Result<Tables> {
        let count = self.nodes.len();
        if i32::try_from(count).is_err() {
            bail_invalid!("{count} nodes are too many");
        }
        let single = cx.dtype(x) == DType::F32;
        let (mut features, mut splits) = (vec![0i32; count], vec![0.0; count]);
        let mut ways: [Vec<i32>; 2] = [(0..count as i32).collect(), (0..count as i32).collect()];
        let (mut equal, mut missing) = (vec![false; count], vec![false; count]);
        for (i, node) in self.nodes.iter().enumerate() {
            let Node::Ask(ask) = node else { continue };
            if ask.feature as i64 >= columns {
                bail_invalid!("a tree asks for feature {} of {columns}", ask.feature);
            }
            features[i] = ask.feature as i32;
            // Less is at most the number before; the others are these turned round.
            let before = |v: f64| if single { f64::from((v as f32).next_down()) } else { v.next_down() };
            splits[i] = match ask.rule {
                Rule::Less | Rule::AtLeast => before(ask.split),
                _ => ask.split,
            };
            equal[i] = matches!(ask.rule, Rule::Equal | Rule::Differs);
            let turned = matches!(ask.rule, Rule::AtLeast | Rule::Greater | Rule::Differs);
            let (yes, no) = if turned { (ask.no, ask.yes) } else { (ask.yes, ask.no) };
            (ways[0][i], ways[1][i]) = (yes as i32, no as i32);
            missing[i] = ask.missing != turned;
        }
        let bools = |cx: &mut Composer<'_>, list: Vec<bool>| {
            let some = list.contains(&true);
            some.then(|| cx.constant(Tensor::from_bools(&[count], list)))
        };
        let splits = crate::ops::values::from_f64s(cx.dtype(x), &[count], splits)?;
        let [yes, no] = ways;
        Ok(Tables {
            features: cx.constant(Tensor::from_vec(&[count], features)),
            splits: cx.constant(splits),
            yes: cx.constant(Tensor::from_vec(&[count], yes)),
            no: cx.constant(Tensor::from_vec(&[count], no)),
            equal: bools(cx, equal),
            missing: bools(cx, missing),
        })
    }
}

/// Nodes by their number.
struct Tables {
    features: Value,
    splits: Value,
    yes: Value,
    no: Value,
    /// Whether the feature must be equal to the number, where any node asks that.
    equal: Option<Value>,
    /// Whether what is no number counts as yes, where it does for any node.
    missing: Option<Value>,
}

impl Tables {
    fn step(&self, cx: &mut Composer<'_>, x: Value, at: Value) -> Result<Value> {
        let feature = cx.gather(self.features, at, 0)?;
        let list = [("axis", crate::op::Attr::Int(1))];
        let value = cx.apply(&gather_elements::DEF, &list, &[x, feature])?;
        let split = cx.gather(self.splits, at, 0)?;
        let mut holds = cx.apply(&binary::LESS_OR_EQUAL, &[], &[value, split])?;
        if let Some(equal) = self.equal {
            let same = cx.apply(&binary::EQUAL, &[], &[value, split])?;
            let asked = cx.gather(equal, at, 0)?;
            holds = cx.apply(&where_::DEF, &[], &[asked, same, holds])?;
        }
        if let Some(missing) = self.missing {
            let gone = cx.apply(&unary::IS_NAN, &[], &[value])?;
            let counts = cx.gather(missing, at, 0)?;
            holds = cx.choose(gone, counts, holds)?;
        }
        let (yes, no) = (cx.gather(self.yes, at, 0)?, cx.gather(self.no, at, 0)?);
        cx.choose(holds, yes, no)
    }
}
