//! Which activations become integers, and which of them share a scale.
//!
//! Products ask for integers, and the demand goes up the graph: what only moves elements hands integers on, so both sides
//! share a scale; an average or a sum of two takes integers too; functions of one value are computed in the epilogue of the
//! product before them, unless they are long: then they become tables, for which that product's result is quantised as well.
//! What nobody demands stays float: the model's results, and whatever goes into operators without an integer form.

use std::collections::{BTreeMap, BTreeSet};

use kiln_calibrate::{Layer, View};
use kiln_ir::quantized;
use kiln_onnx::Node;

/// Averages, whose sums are of integers.
const AVERAGES: &[&str] = &["AveragePool", "GlobalAveragePool", "ReduceMean"];

/// Functions of one element that take few operations.
const SHORT: &[&str] =
    &["Abs", "Add", "Clip", "Div", "LeakyRelu", "Max", "Min", "Mul", "Neg", "PRelu", "Relu", "Sub"];

/// The longest chain of functions that is looked at as one.
const MOST_NODES: usize = 64;

/// The activations that become integers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Points {
    /// By value: the group, whose members share scale and zero point. Groups are named by one of their members.
    pub(crate) groups: BTreeMap<String, String>,
}

impl Points {
    /// The members of each group.
    pub(crate) fn members(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut out: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (value, group) in &self.groups {
            out.entry(group).or_default().push(value);
        }
        out
    }
}

/// The activations that these products demand.
pub(crate) fn decide<'l>(view: &View<'_>, layers: impl IntoIterator<Item = &'l Layer>) -> Points {
    let layers: Vec<&Layer> = layers.into_iter().collect();
    let products: BTreeSet<usize> = layers.iter().map(|l| l.node).collect();
    let functions = functions(view);
    let (marked, links) = (BTreeSet::new(), Vec::new());
    let open = layers.iter().flat_map(|l| l.activations()).map(str::to_owned).collect();
    let mut demand = Demand { view, products, functions, marked, links, open };
    while let Some(value) = demand.open.pop() {
        if view.constant(&value).is_none() && demand.marked.insert(value.clone()) {
            demand.trace(&value);
        }
    }
    demand.grouped()
}

/// A function of one value.
#[derive(Clone, Debug)]
struct Function {
    of: String,
    long: bool,
    nodes: BTreeSet<usize>,
}

/// The values that are functions of one other.
fn functions(view: &View<'_>) -> BTreeMap<String, Function> {
    let mut out: BTreeMap<String, Function> = BTreeMap::new();
    for (i, node) in view.nodes().iter().enumerate() {
        let long = quantized::is_long(node.op());
        let [result] = node.outputs() else { continue };
        if !long && !SHORT.contains(&node.op()) {
            continue;
        }
        let operands = node.inputs().iter().filter(|n| !n.is_empty() && view.constant(n).is_none());
        let mut function: Option<Function> = None;
        let mut one = true;
        for operand in operands {
            let itself = || Function { of: operand.clone(), long: false, nodes: BTreeSet::new() };
            let next = out.get(operand).cloned().unwrap_or_else(itself);
            match &mut function {
                None => function = Some(next),
                Some(all) if all.of == next.of => {
                    all.long |= next.long;
                    all.nodes.extend(next.nodes);
                }
                Some(_) => one = false,
            }
        }
        if let Some(mut function) = function.filter(|f| one && f.nodes.len() < MOST_NODES) {
            function.long |= long;
            function.nodes.insert(i);
            out.insert(result.clone(), function);
        }
    }
    out
}

struct Demand<'a, 'd> {
    view: &'a View<'d>,
    products: BTreeSet<usize>,
    functions: BTreeMap<String, Function>,
    marked: BTreeSet<String>,
    /// Pairs of values that share a scale.
    links: Vec<(String, String)>,
    open: Vec<String>,
}

impl Demand<'_, '_> {
    /// What the maker of a value needs for its part.
    fn trace(&mut self, value: &str) {
        let Some((position, node)) = self.view.producer(value) else { return };
        if self.products.contains(&position) {
            return;
        }
        if let Some(operands) = moved(self.view, node) {
            for operand in operands {
                self.links.push((value.to_owned(), operand.to_owned()));
                self.open.push(operand.to_owned());
            }
        } else if AVERAGES.contains(&node.op()) {
            self.open.extend(node.input(0).map(str::to_owned));
        } else if let Some(function) = self.functions.get(value) {
            let maker = self.view.producer(&function.of);
            let product = maker.is_none_or(|(i, n)| self.products.contains(&i) || SHORT.contains(&n.op()));
            let integers =
                maker.is_some_and(|(_, n)| AVERAGES.contains(&n.op()) || moved(self.view, n).is_some());
            // A short one is part of the product's epilogue, on sums that were not rounded before.
            if function.long && product || integers {
                self.open.push(function.of.clone());
            }
        } else if SHORT.contains(&node.op()) {
            let operands = node.inputs().iter().filter(|n| !n.is_empty());
            self.open.extend(operands.cloned());
        }
    }

    /// Values that share a scale, directly or through others.
    fn grouped(self) -> Points {
        let mut group: BTreeMap<String, String> =
            self.marked.iter().map(|v| (v.clone(), v.clone())).collect();
        fn top(group: &BTreeMap<String, String>, value: &str) -> String {
            let mut at = value.to_owned();
            while group[&at] != at {
                at = group[&at].clone();
            }
            at
        }
        for (a, b) in &self.links {
            if group.contains_key(a) && group.contains_key(b) {
                let (a, b) = (top(&group, a), top(&group, b));
                group.insert(a, b);
            }
        }
        let groups = self.marked.iter().map(|v| (v.clone(), top(&group, v))).collect();
        Points { groups }
    }
}

/// The operands of an operator whose results are elements of them.
fn moved<'d>(view: &View<'d>, node: &'d Node) -> Option<Vec<&'d str>> {
    let operands: Vec<&str> = match node.op() {
        "Concat" => node.inputs().iter().map(String::as_str).collect(),
        "MaxPool" if node.outputs().len() > 1 => return None,
        op if quantized::moves(op) => node.input(0).into_iter().collect(),
        _ => return None,
    };
    // A constant keeps its own numbers.
    let constant = operands.iter().any(|o| view.constant(o).is_some());
    (!operands.is_empty() && !constant).then_some(operands)
}
