//! `ai.onnx.ml.TreeEnsemble`, `TreeEnsembleRegressor` and `TreeEnsembleClassifier`: forests of decision trees.
//!
//! Spec: TreeEnsemble version 5; the other two, versions 1 and 3. Samples are `[N, columns]`, results `[N, targets]`; a classifier
//! gives labels, then scores. `base_values` are added to what trees give. A binary classifier whose trees have one class has the
//! scores `1 - s, s` (`NONE`, `PROBIT`) or `-s, s` before `post_transform`. All trees of all samples are walked together
//! (`forest.rs`).
//!
//! Unsupported: labels that are strings.

use std::collections::HashMap;

use super::forest::{Aggregate, Ask, Forest, Node, Rule};
use super::{DOMAIN, PostTransform, best, labels, matrix, read, table, take};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::op::{Attrs, NodeProto, Op, OpDef};
use crate::ops::composed::{Composed, Composer, Value, composed, required};
use crate::types::DType;

/// A forest.
#[derive(Clone, Debug, PartialEq)]
pub struct Trees {
    name: &'static str,
    attrs: Attrs,
    forest: Forest,
    aggregate: Aggregate,
    transform: PostTransform,
    base: Vec<f64>,
    /// Of a classifier, with the only class that leaves have, if there is only one.
    labels: Option<(Vec<i64>, Option<usize>)>,
}

const FIRST: &[&str] = &[
    "aggregate_function",
    "base_values",
    "base_values_as_tensor",
    "class_ids",
    "class_nodeids",
    "class_treeids",
    "class_weights",
    "class_weights_as_tensor",
    "classlabels_int64s",
    "classlabels_strings",
    "n_targets",
    "nodes_falsenodeids",
    "nodes_featureids",
    "nodes_hitrates",
    "nodes_hitrates_as_tensor",
    "nodes_missing_value_tracks_true",
    "nodes_modes",
    "nodes_nodeids",
    "nodes_treeids",
    "nodes_truenodeids",
    "nodes_values",
    "nodes_values_as_tensor",
    "post_transform",
    "target_ids",
    "target_nodeids",
    "target_treeids",
    "target_weights",
    "target_weights_as_tensor",
];

const LATER: &[&str] = &[
    "aggregate_function",
    "leaf_targetids",
    "leaf_weights",
    "membership_values",
    "n_targets",
    "nodes_falseleafs",
    "nodes_falsenodeids",
    "nodes_featureids",
    "nodes_hitrates",
    "nodes_missing_value_tracks_true",
    "nodes_modes",
    "nodes_splits",
    "nodes_trueleafs",
    "nodes_truenodeids",
    "post_transform",
    "tree_roots",
];

/// `ai.onnx.ml.TreeEnsemble`.
pub const DEF: OpDef =
    OpDef { name: "TreeEnsemble", domain: DOMAIN, since: (5, 5), parse: parse_later, unsupported: "" };

/// `ai.onnx.ml.TreeEnsembleRegressor`.
pub const REGRESSOR: OpDef = OpDef {
    name: "TreeEnsembleRegressor",
    domain: DOMAIN,
    since: (1, 5),
    parse: |node| parse_first(node, "TreeEnsembleRegressor", false),
    unsupported: "",
};

/// `ai.onnx.ml.TreeEnsembleClassifier`.
pub const CLASSIFIER: OpDef = OpDef {
    name: "TreeEnsembleClassifier",
    parse: |node| parse_first(node, "TreeEnsembleClassifier", true),
    unsupported: "labels that are strings",
    ..REGRESSOR
};

/// An index that must not be negative.
fn index(value: i64) -> Result<usize> {
    usize::try_from(value)
        .map_err(|_| Error::invalid(format!("{value} is no position of a node, feature or target")))
}

/// Numbers from a list of floats or, in f64, a tensor.
fn floats(node: &mut NodeProto<'_>, name: &str) -> Result<Vec<f64>> {
    if let Some(tensor) = node.tensor(&format!("{name}_as_tensor"))? {
        return tensor.to_f64s();
    }
    Ok(node.floats(name)?.unwrap_or_default().into_iter().map(f64::from).collect())
}

/// Lists that describe the same things must be as long as each other.
fn same_length(what: &str, lengths: &[usize]) -> Result<()> {
    if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        bail_invalid!("the lists of {what} have {lengths:?} elements");
    }
    Ok(())
}

fn parse_first(node: &mut NodeProto<'_>, name: &'static str, classifier: bool) -> Result<Box<dyn Op>> {
    let outputs = if classifier { 2 } else { 1 };
    node.arity(1..=1, outputs..=outputs)?;
    let attrs = take(node, FIRST);
    let op = read(&attrs, node.inputs, |node| first(node, name, classifier, attrs.clone()))?;
    Ok(Box::new(op))
}

fn first(node: &mut NodeProto<'_>, name: &'static str, classifier: bool, attrs: Attrs) -> Result<Trees> {
    let ids = |node: &mut NodeProto<'_>, name: &str| Ok::<_, Error>(node.ints(name)?.unwrap_or_default());
    let (trees, numbers) = (ids(node, "nodes_treeids")?, ids(node, "nodes_nodeids")?);
    let (yes, no) = (ids(node, "nodes_truenodeids")?, ids(node, "nodes_falsenodeids")?);
    let features = ids(node, "nodes_featureids")?;
    let modes = node.strings("nodes_modes")?.unwrap_or_default();
    let splits = floats(node, "nodes_values")?;
    let missing = ids(node, "nodes_missing_value_tracks_true")?;
    same_length(
        "nodes",
        &[trees.len(), numbers.len(), yes.len(), no.len(), features.len(), modes.len(), splits.len()],
    )?;
    let mut places = HashMap::new();
    let (mut roots, mut known) = (Vec::new(), std::collections::HashSet::new());
    for (i, key) in trees.iter().copied().zip(numbers.iter().copied()).enumerate() {
        if places.insert(key, i).is_some() {
            bail_invalid!("node {} of tree {} is there twice", key.1, key.0);
        }
        if known.insert(key.0) {
            roots.push(i);
        }
    }
    let find = |tree: i64, number: i64| {
        places
            .get(&(tree, number))
            .copied()
            .ok_or_else(|| Error::invalid(format!("tree {tree} has no node {number}")))
    };
    let mut nodes = Vec::with_capacity(trees.len());
    for i in 0..trees.len() {
        let rule = match &*modes[i] {
            "LEAF" => {
                nodes.push(Node::Leaf(Vec::new()));
                continue;
            }
            "BRANCH_LEQ" => Rule::AtMost,
            "BRANCH_LT" => Rule::Less,
            "BRANCH_GTE" => Rule::AtLeast,
            "BRANCH_GT" => Rule::Greater,
            "BRANCH_EQ" => Rule::Equal,
            "BRANCH_NEQ" => Rule::Differs,
            other => bail_invalid!("a node's mode is '{other}'"),
        };
        nodes.push(Node::Ask(Ask {
            rule,
            feature: index(features[i])?,
            split: splits[i],
            missing: missing.get(i).is_some_and(|m| *m != 0),
            yes: find(trees[i], yes[i])?,
            no: find(trees[i], no[i])?,
        }));
    }
    let prefix = if classifier { "class" } else { "target" };
    let list = |node: &mut NodeProto<'_>, what: &str| ids(node, &format!("{prefix}_{what}"));
    let (of_trees, of_nodes, targets) = (list(node, "treeids")?, list(node, "nodeids")?, list(node, "ids")?);
    let weights = floats(node, &format!("{prefix}_weights"))?;
    same_length("weights", &[of_trees.len(), of_nodes.len(), targets.len(), weights.len()])?;
    for i in 0..weights.len() {
        let Node::Leaf(leaf) = &mut nodes[find(of_trees[i], of_nodes[i])?] else {
            bail_invalid!("node {} of tree {} has a weight and is no leaf", of_nodes[i], of_trees[i])
        };
        leaf.push((index(targets[i])?, weights[i]));
    }
    let mut labels_of = None;
    let mut count = index(node.int("n_targets")?.unwrap_or(1))?;
    if classifier {
        let labels = labels(node, "classlabels_int64s")?;
        let single = targets.first().filter(|first| targets.iter().all(|t| t == *first));
        count = labels.len().max(1);
        labels_of = Some((labels, single.map(|t| index(*t)).transpose()?));
    }
    Ok(Trees {
        name,
        attrs,
        forest: Forest { nodes, roots, targets: count },
        aggregate: match node.string("aggregate_function")?.as_deref() {
            None | Some("SUM") => Aggregate::Sum,
            Some("AVERAGE") => Aggregate::Average,
            Some("MIN") => Aggregate::Min,
            Some("MAX") => Aggregate::Max,
            Some(other) => bail_invalid!("attribute 'aggregate_function' is '{other}'"),
        },
        transform: PostTransform::parse(node)?,
        base: floats(node, "base_values")?,
        labels: labels_of,
    })
}

fn parse_later(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let attrs = take(node, LATER);
    let op = read(&attrs, node.inputs, |node| later(node, attrs.clone()))?;
    Ok(Box::new(op))
}

fn later(node: &mut NodeProto<'_>, attrs: Attrs) -> Result<Trees> {
    let ids = |node: &mut NodeProto<'_>, name: &str| Ok::<_, Error>(node.ints(name)?.unwrap_or_default());
    let tensor =
        |node: &mut NodeProto<'_>, name: &str| node.tensor(name)?.map_or(Ok(Vec::new()), |t| t.to_f64s());
    let (yes, no) = (ids(node, "nodes_truenodeids")?, ids(node, "nodes_falsenodeids")?);
    let (yes_leaf, no_leaf) = (ids(node, "nodes_trueleafs")?, ids(node, "nodes_falseleafs")?);
    let (features, missing) = (ids(node, "nodes_featureids")?, ids(node, "nodes_missing_value_tracks_true")?);
    let (splits, modes) = (tensor(node, "nodes_splits")?, tensor(node, "nodes_modes")?);
    let count = yes.len();
    same_length(
        "nodes",
        &[count, no.len(), yes_leaf.len(), no_leaf.len(), features.len(), splits.len(), modes.len()],
    )?;
    let (leaf_targets, leaf_weights) = (ids(node, "leaf_targetids")?, tensor(node, "leaf_weights")?);
    same_length("leaves", &[leaf_targets.len(), leaf_weights.len()])?;
    let mut members = tensor(node, "membership_values")?.into_iter();
    // Leaves come behind the nodes that ask.
    let link = |at: i64, is_leaf: i64| -> Result<usize> {
        let (at, end) = (index(at)?, if is_leaf != 0 { leaf_weights.len() } else { count });
        if at >= end {
            bail_invalid!("a tree leads to node or leaf {at} of {end}");
        }
        Ok(if is_leaf != 0 { count + at } else { at })
    };
    let mut nodes = vec![Node::Leaf(Vec::new()); count];
    for (target, weight) in leaf_targets.iter().zip(&leaf_weights) {
        nodes.push(Node::Leaf(vec![(index(*target)?, *weight)]));
    }
    for i in 0..count {
        let ask = Ask {
            rule: Rule::Equal,
            feature: index(features[i])?,
            split: splits[i],
            missing: missing.get(i).is_some_and(|m| *m != 0),
            yes: link(yes[i], yes_leaf[i])?,
            no: link(no[i], no_leaf[i])?,
        };
        let rule = match modes[i] as i64 {
            0 => Rule::AtMost,
            1 => Rule::Less,
            2 => Rule::AtLeast,
            3 => Rule::Greater,
            4 => Rule::Equal,
            5 => Rule::Differs,
            // A question for each member, one behind the other.
            6 => {
                let list: Vec<f64> = members.by_ref().take_while(|v| !v.is_nan()).collect();
                let Some((last, others)) = list.split_last() else {
                    bail_invalid!("node {i} asks for membership of a set without members")
                };
                let mut next = Node::Ask(Ask { split: *last, ..ask });
                for member in others {
                    nodes.push(next);
                    next = Node::Ask(Ask { split: *member, no: nodes.len() - 1, ..ask });
                }
                nodes[i] = next;
                continue;
            }
            other => bail_invalid!("a node's mode is {other}"),
        };
        nodes[i] = Node::Ask(Ask { rule, ..ask });
    }
    let roots = ids(node, "tree_roots")?.into_iter().map(index).collect::<Result<Vec<_>>>()?;
    for root in &roots {
        // A tree that is a leaf: both ways lead to it.
        if *root >= count {
            bail_invalid!("a tree's root is node {root} of {count}");
        }
    }
    let aggregate = match node.int("aggregate_function")?.unwrap_or(1) {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => bail_invalid!("attribute 'aggregate_function' is {other}"),
    };
    Ok(Trees {
        name: DEF.name,
        attrs,
        forest: Forest { nodes, roots, targets: index(node.int("n_targets")?.unwrap_or(1))? },
        aggregate,
        transform: PostTransform::numbered(node.int("post_transform")?.unwrap_or(0))?,
        base: Vec::new(),
        labels: None,
    })
}

impl Op for Trees {
    fn name(&self) -> &'static str {
        self.name
    }

    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn attrs(&self) -> Attrs {
        self.attrs.clone()
    }

    composed!(product);
}

impl Composed for Trees {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (x, [rows, _]) = matrix(cx, required(inputs, 0)?)?;
        let mut scores = self.forest.run(cx, x, self.aggregate)?;
        if !self.base.is_empty() {
            if self.base.len() != 1 && self.base.len() != self.forest.targets {
                bail_invalid!("{} base values for {} targets", self.base.len(), self.forest.targets);
            }
            let base = table(cx, scores, [1, self.base.len()], self.base.clone())?;
            scores = cx.add(scores, base)?;
        }
        let Some((labels, single)) = &self.labels else {
            // The first versions give f32, whatever the samples are.
            let to = if self.name == DEF.name { cx.dtype(scores) } else { DType::F32 };
            let scores = self.transform.apply(cx, scores)?;
            return Ok(vec![cx.cast(scores, to)?]);
        };
        scores = cx.cast(scores, DType::F32)?;
        if let (Some(class), true) = (single, labels.len() <= 2) {
            let class = *class as i64;
            let s = cx.slice(scores, 1, (class, class + 1), 1)?;
            let other = match self.transform {
                PostTransform::None | PostTransform::Probit => cx.number_less(1.0, s)?,
                _ => cx.times(s, -1.0)?,
            };
            scores = cx.concat(&[other, s], 1)?;
        }
        scores = self.transform.apply(cx, scores)?;
        let of: Vec<i64> = match labels[..] {
            [] => (0..cx.extents(scores, "scores")?[1]).collect(),
            // A single class is there or not.
            [one] => vec![0, one],
            _ => labels.clone(),
        };
        let label = best(cx, scores, &of)?;
        Ok(vec![cx.reshape(label, &[rows])?, scores])
    }
}

#[cfg(test)]
mod tests {
    use crate::op::Attr;
    use crate::ops::testing::{parse, run};
    use crate::tensor::Tensor;

    fn ints(values: &[i64]) -> Attr {
        Attr::Ints(values.to_vec())
    }

    fn strings(values: &[&str]) -> Attr {
        Attr::Strs(values.iter().map(|s| (*s).to_owned()).collect())
    }

    /// Two trees: the second is a leaf alone.
    fn nodes(mode: &str, missing: i64) -> Vec<(&'static str, Attr)> {
        vec![
            ("nodes_treeids", ints(&[0, 0, 0, 0, 0, 1])),
            ("nodes_nodeids", ints(&[0, 1, 2, 3, 4, 0])),
            ("nodes_featureids", ints(&[1, 0, 0, 0, 0, 0])),
            ("nodes_values", Attr::Floats(vec![0.5, -1.0, 0.0, 0.0, 0.0, 0.0])),
            ("nodes_modes", strings(&[mode, "BRANCH_LEQ", "LEAF", "LEAF", "LEAF", "LEAF"])),
            ("nodes_truenodeids", ints(&[1, 3, 0, 0, 0, 0])),
            ("nodes_falsenodeids", ints(&[2, 4, 0, 0, 0, 0])),
            ("nodes_missing_value_tracks_true", ints(&[missing, 0, 0, 0, 0, 0])),
        ]
    }

    fn samples() -> Tensor {
        Tensor::from_vec(&[4, 2], vec![-2f32, 0.25, 3.0, 0.5, 0.0, 7.0, 1.0, f32::NAN])
    }

    #[test]
    fn every_rule_of_a_regressor() {
        let holds = |mode: &str, x: f32, missing: i64| match mode {
            _ if x.is_nan() => missing == 1,
            "BRANCH_LEQ" => x <= 0.5,
            "BRANCH_LT" => x < 0.5,
            "BRANCH_GTE" => x >= 0.5,
            "BRANCH_GT" => x > 0.5,
            "BRANCH_EQ" => x == 0.5,
            _ => x != 0.5,
        };
        for mode in ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"] {
            for missing in [0, 1] {
                let mut list = nodes(mode, missing);
                list.extend([
                    ("target_treeids", ints(&[0, 0, 0, 1])),
                    ("target_nodeids", ints(&[2, 3, 4, 0])),
                    ("target_ids", ints(&[0, 0, 0, 0])),
                    ("target_weights", Attr::Floats(vec![1.0, 10.0, 100.0, 0.5])),
                    ("n_targets", Attr::Int(1)),
                    ("base_values", Attr::Floats(vec![0.25])),
                ]);
                let op = parse("ai.onnx.ml::TreeEnsembleRegressor", 3, &list, 1, 1).unwrap();
                let y = run(&*op, &[&samples()], &[]).unwrap();
                let x = samples().as_slice::<f32>().unwrap().into_owned();
                let want = x.chunks(2).map(|row| {
                    let tree = match (holds(mode, row[1], missing), row[0] <= -1.0) {
                        (false, _) => 1.0,
                        (true, true) => 10.0,
                        (true, false) => 100.0,
                    };
                    tree + 0.75
                });
                assert_eq!(y[0], Tensor::from_vec(&[4, 1], want.collect::<Vec<f32>>()), "{mode} {missing}");
            }
        }
    }

    #[test]
    fn classifiers() {
        for (labels, ids, transform) in [
            (vec![3i64, 5, 9], vec![0i64, 1, 2, 1], "NONE"),
            (vec![3, 5, 9], vec![0, 1, 2, 1], "SOFTMAX"),
            (vec![0, 1], vec![1, 1, 1, 1], "NONE"),
            (vec![0, 1], vec![0, 0, 0, 0], "LOGISTIC"),
            (vec![7], vec![0, 0, 0, 0], "NONE"),
        ] {
            let mut list = nodes("BRANCH_LEQ", 0);
            list.extend([
                ("class_treeids", ints(&[0, 0, 0, 1])),
                ("class_nodeids", ints(&[2, 3, 4, 0])),
                ("class_ids", Attr::Ints(ids)),
                ("class_weights", Attr::Floats(vec![0.25, 0.5, 0.125, 0.125])),
                ("classlabels_int64s", Attr::Ints(labels.clone())),
                ("post_transform", Attr::Str(transform.into())),
            ]);
            let op = parse("ai.onnx.ml::TreeEnsembleClassifier", 3, &list, 1, 2).unwrap();
            let y = run(&*op, &[&samples()], &[]).unwrap();
            assert_eq!(y[1].shape, [4, labels.len().max(2)]);
        }
    }

    #[test]
    fn sets_of_members() {
        let floats = |v: &[f32]| Attr::Tensor(Tensor::from_vec(&[v.len()], v.to_vec()));
        let list = [
            ("nodes_featureids", ints(&[0, 1])),
            ("nodes_splits", floats(&[0.0, 1.5])),
            ("nodes_modes", Attr::Tensor(Tensor::from_vec(&[2], vec![6u8, 3]))),
            ("nodes_truenodeids", ints(&[1, 0])),
            ("nodes_trueleafs", ints(&[0, 1])),
            ("nodes_falsenodeids", ints(&[2, 1])),
            ("nodes_falseleafs", ints(&[1, 1])),
            ("membership_values", floats(&[1.0, 4.0, -2.0, f32::NAN])),
            ("leaf_targetids", ints(&[0, 1, 0])),
            ("leaf_weights", floats(&[5.0, 6.0, 7.0])),
            ("tree_roots", ints(&[0])),
            ("n_targets", Attr::Int(2)),
        ];
        let op = parse("ai.onnx.ml::TreeEnsemble", 5, &list, 1, 1).unwrap();
        let x = Tensor::from_vec(&[4, 2], vec![4f32, 2.0, -2.0, 1.5, 3.0, 0.0, 1.0, 9.0]);
        let y = run(&*op, &[&x], &[]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[4, 2], vec![5f32, 0.0, 0.0, 6.0, 7.0, 0.0, 5.0, 0.0]));
    }

    #[test]
    fn trees_that_do_not_end() {
        let mut list = nodes("BRANCH_LEQ", 0);
        list.retain(|(name, _)| *name != "nodes_truenodeids");
        list.push(("nodes_truenodeids", ints(&[1, 0, 0, 0, 0, 0])));
        list.push(("n_targets", Attr::Int(1)));
        let op = parse("ai.onnx.ml::TreeEnsembleRegressor", 3, &list, 1, 1).unwrap();
        assert!(crate::ops::testing::refusal(&*op, &[&[1, 2]]).contains("back to itself"));
    }
}
