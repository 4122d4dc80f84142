//! Which channels of which values are one and the same, and where constants speak of them.
//!
//! Each channel of a product's result is a lane of its own. What computes element by element hands lanes on; a sum of two
//! values makes one of each pair; a Concat puts them side by side. What cannot be followed holds its lanes: they stay.

use std::collections::HashMap;

use kiln_calibrate::{Layer, View, Weights, Window};
use kiln_compiler::Tensor;
use kiln_onnx::Node;

/// Where a value's channels lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    /// The second of so many axes.
    Second(usize),
    /// The last one.
    Last,
    /// The last one, where each channel stands for several elements side by side.
    Flat,
}

#[derive(Clone, Debug)]
struct Value {
    lanes: Vec<usize>,
    axis: Axis,
}

/// A constant whose axis has an element, or several, for each of these lanes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Follows {
    pub(crate) constant: String,
    pub(crate) axis: usize,
    pub(crate) lanes: Vec<usize>,
}

/// What a product reads and gives, in lanes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ends {
    /// By channel that is read; nothing where they are not known.
    pub(crate) reads: Option<Vec<usize>>,
    /// By row.
    pub(crate) gives: Vec<usize>,
}

/// The lanes of a model.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    parent: Vec<usize>,
    /// Why a lane stays, at the one that stands for all that are the same.
    held: Vec<Option<String>>,
    pub(crate) follows: Vec<Follows>,
    /// Depthwise convolutions by their result: they have a group for each of these lanes.
    pub(crate) depthwise: HashMap<String, Vec<usize>>,
    /// By position of a node with weights.
    pub(crate) ends: HashMap<usize, Ends>,
    values: HashMap<String, Value>,
}

/// Operators that compute element by element, of one operand.
const ALONE: &[&str] = &[
    "Abs",
    "Cast",
    "Celu",
    "Clip",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Mish",
    "Neg",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
    "ThresholdedRelu",
];
/// And of several.
const TOGETHER: &[&str] = &["Add", "Div", "Max", "Mean", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum"];
/// Operators that reduce the axes behind channels.
const POOLS: &[&str] =
    &["AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"];

impl Lanes {
    /// Follows the channels through a model; `layers` are its products with constant weights.
    pub(crate) fn of(view: &View<'_>, layers: &[Layer]) -> Self {
        let mut lanes = Self::default();
        let products: HashMap<usize, &Layer> =
            layers.iter().filter(|l| l.weights().is_some()).map(|l| (l.node, l)).collect();
        for (i, node) in view.nodes().iter().enumerate() {
            match products.get(&i).and_then(|l| l.weights()) {
                Some(weights) => lanes.product(view, i, node, weights),
                None => lanes.node(view, node),
            }
            for output in node.outputs().iter().filter(|o| view.is_seen(o)) {
                lanes.hold(output, "they are results of the model");
            }
        }
        lanes
    }

    /// The lane that stands for all that are the same.
    pub(crate) fn root(&self, mut lane: usize) -> usize {
        while self.parent[lane] != lane {
            lane = self.parent[lane];
        }
        lane
    }

    /// Why a lane stays, whatever is asked for.
    pub(crate) fn why(&self, lane: usize) -> Option<&str> {
        self.held[self.root(lane)].as_deref()
    }

    fn fresh(&mut self, count: usize) -> Vec<usize> {
        let from = self.parent.len();
        self.parent.extend(from..from + count);
        self.held.resize(from + count, None);
        (from..from + count).collect()
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            let why = self.held[b].take();
            self.parent[b] = a;
            let held = &mut self.held[a];
            *held = held.take().or(why);
        }
    }

    fn hold(&mut self, value: &str, why: &str) {
        let Some(value) = self.values.get(value) else { return };
        for lane in value.lanes.clone() {
            self.hold_lane(lane, why);
        }
    }

    fn hold_lane(&mut self, lane: usize, why: &str) {
        let root = self.root(lane);
        self.held[root].get_or_insert_with(|| why.to_owned());
    }

    /// A constant follows lanes. One that others read too holds them.
    fn follow(&mut self, view: &View<'_>, constant: &str, axis: usize, lanes: &[usize]) {
        if view.readers(constant).len() != 1 || view.is_seen(constant) {
            let lanes = lanes.to_vec();
            lanes.into_iter().for_each(|l| self.hold_lane(l, "a constant along them is read elsewhere too"));
        }
        self.follows.push(Follows { constant: constant.to_owned(), axis, lanes: lanes.to_vec() });
    }

    fn give(&mut self, node: &Node, lanes: Vec<usize>, axis: Axis) {
        if let Some(output) = node.outputs().first() {
            self.values.insert(output.clone(), Value { lanes, axis });
        }
    }

    fn product(&mut self, view: &View<'_>, position: usize, node: &Node, weights: &Weights) {
        let input = node.input(0).unwrap_or_default();
        let read = self.values.get(input).cloned();
        let (channels, is_window) = match &weights.window {
            Window::Rows => (weights.depth, false),
            Window::Taps { channels, .. } => (*channels, true),
        };
        let axis = match &weights.window {
            Window::Taps { kernel, .. } => Axis::Second(2 + kernel.len()),
            Window::Rows => Axis::Last,
        };
        if weights.groups > 1 {
            let lanes = match read {
                Some(v) if channels == 1 && v.axis == axis && v.lanes.len() == weights.rows => {
                    let output = node.outputs().first().cloned().unwrap_or_default();
                    self.follow(view, &weights.name, 0, &v.lanes);
                    self.depthwise.insert(output, v.lanes.clone());
                    v.lanes
                }
                _ => {
                    self.hold(input, "a convolution in groups reads them");
                    let lanes = self.fresh(weights.rows);
                    lanes.iter().for_each(|l| self.hold_lane(*l, "a convolution in groups gives them"));
                    lanes
                }
            };
            if let Some(bias) = &weights.bias {
                self.follow(view, bias, 0, &lanes);
            }
            return self.give(node, lanes, axis);
        }
        // Each lane as often as it has elements side by side.
        let fits = |v: &Value| match (is_window, v.axis) {
            (true, a) => (a == axis && v.lanes.len() == channels).then(|| v.lanes.clone()),
            (false, Axis::Last) => (v.lanes.len() == channels).then(|| v.lanes.clone()),
            (false, Axis::Flat) if !v.lanes.is_empty() && channels.is_multiple_of(v.lanes.len()) => {
                let each = channels / v.lanes.len();
                Some(v.lanes.iter().flat_map(|l| std::iter::repeat_n(*l, each)).collect())
            }
            _ => None,
        };
        let reads = read.as_ref().and_then(fits);
        if reads.is_none() {
            self.hold(input, "a layer reads them along another axis");
        }
        let gives = self.fresh(weights.rows);
        if let Some(reads) = &reads {
            self.follow(view, &weights.name, 1 - weights.axis, reads);
        }
        self.follow(view, &weights.name, weights.axis, &gives);
        if let Some(bias) = &weights.bias {
            self.follow(view, bias, 0, &gives);
        }
        self.ends.insert(position, Ends { reads, gives: gives.clone() });
        self.give(node, gives, axis);
    }

    fn node(&mut self, view: &View<'_>, node: &Node) {
        let op = node.op();
        let first = node.input(0).and_then(|n| self.values.get(n)).cloned();
        let one_result = node.outputs().iter().filter(|o| !o.is_empty()).count() == 1;
        let handed = match first {
            Some(v) if ALONE.contains(&op) && one_result => Some(v),
            Some(v) if POOLS.contains(&op) && one_result && matches!(v.axis, Axis::Second(_)) => Some(v),
            Some(v) if op == "BatchNormalization" && one_result && v.axis != Axis::Flat => {
                (1..5).filter_map(|i| node.input(i)).for_each(|name| self.follow(view, name, 0, &v.lanes));
                Some(v)
            }
            Some(v) => self.reshaped(view, node, v),
            None => None,
        };
        let handed = handed
            .or_else(|| TOGETHER.contains(&op).then(|| self.together(view, node)).flatten())
            .or_else(|| (op == "Concat").then(|| self.side_by_side(view, node)).flatten());
        match handed {
            Some(value) => self.give(node, value.lanes, value.axis),
            None => {
                let why = format!("{} reads them", node.op_in_words());
                for name in node.inputs().iter().map(String::as_str).chain(node.captured()) {
                    self.hold(name, &why);
                }
            }
        }
    }

    /// What moves elements and keeps channels apart.
    fn reshaped(&self, view: &View<'_>, node: &Node, value: Value) -> Option<Value> {
        let ints = |i: usize| view.constant(node.input(i)?)?.to_i64s().ok();
        let flat = |v: Value| match v.axis {
            Axis::Second(_) => Value { axis: Axis::Flat, ..v },
            _ => v,
        };
        match (node.op(), value.axis) {
            ("Flatten", _) if node.int("axis").unwrap_or(1) == 1 => Some(flat(value)),
            ("Reshape", Axis::Second(_)) => match ints(1)?[..] {
                [-1..=1, -1] => Some(flat(value)),
                _ => None,
            },
            ("ReduceMean" | "ReduceMax" | "ReduceSum", Axis::Second(rank)) => {
                let axes = node.ints("axes").map(<[i64]>::to_vec).or_else(|| ints(1))?;
                let mut axes: Vec<i64> =
                    axes.iter().map(|a| if *a < 0 { a + rank as i64 } else { *a }).collect();
                axes.sort_unstable();
                let all: Vec<i64> = (2..rank as i64).collect();
                match node.int("keepdims").unwrap_or(1) {
                    _ if axes != all => None,
                    0 => Some(Value { axis: Axis::Last, ..value }),
                    _ => Some(value),
                }
            }
            ("Pad", Axis::Second(rank)) => {
                let pads = node.ints("pads").map(<[i64]>::to_vec).or_else(|| ints(1))?;
                let whole = pads.len() == 2 * rank && node.input(3).is_none();
                (whole && pads[1] == 0 && pads[rank + 1] == 0).then_some(value)
            }
            ("Resize" | "Upsample", Axis::Second(_)) => {
                let scales = node.input(if node.op() == "Resize" { 2 } else { 1 })?;
                let scales = view.constant(scales)?.to_f64s().ok()?;
                let alone = node.input(3).is_none() && node.ints("axes").is_none();
                (alone && scales.get(1) == Some(&1.0)).then_some(value)
            }
            _ => None,
        }
    }

    /// Operands element by element: values with the same channels, and constants.
    fn together(&mut self, view: &View<'_>, node: &Node) -> Option<Value> {
        let mut common: Option<Value> = None;
        for name in node.inputs() {
            if view.constant(name).is_some() {
                continue;
            }
            let value = self.values.get(name)?.clone();
            match &common {
                None => common = Some(value),
                Some(known) if known.axis == value.axis && known.lanes.len() == value.lanes.len() => {
                    for (a, b) in known.lanes.clone().into_iter().zip(value.lanes) {
                        self.join(a, b);
                    }
                }
                Some(_) => return None,
            }
        }
        let common = common?;
        for name in node.inputs() {
            let Some(tensor) = view.constant(name) else { continue };
            if matches!(common.axis, Axis::Second(rank) if tensor.shape.len() > rank) {
                return None;
            }
            match along(tensor, common.axis) {
                Some((_, 1)) | None if tensor.elements() == 1 || common.axis != Axis::Flat => {}
                Some((axis, extent)) if extent == common.lanes.len() && common.axis != Axis::Flat => {
                    self.follow(view, name, axis, &common.lanes);
                }
                _ => return None,
            }
        }
        Some(common)
    }

    fn side_by_side(&self, view: &View<'_>, node: &Node) -> Option<Value> {
        let values: Option<Vec<&Value>> = node.inputs().iter().map(|n| self.values.get(n)).collect();
        let values =
            values.filter(|v| !node.inputs().iter().any(|n| view.constant(n).is_some()) && !v.is_empty())?;
        let axis = values[0].axis;
        let right = match (axis, node.int("axis")?) {
            (Axis::Second(rank), at) => at == 1 || at + rank as i64 == 1,
            (Axis::Last, at) => at == -1,
            (Axis::Flat, _) => false,
        };
        let alike = right && values.iter().all(|v| v.axis == axis);
        alike.then(|| Value { lanes: values.iter().flat_map(|v| v.lanes.clone()).collect(), axis })
    }
}

/// The axis of a constant that meets a value's channels, and its extent.
fn along(tensor: &Tensor, axis: Axis) -> Option<(usize, usize)> {
    let behind = match axis {
        Axis::Second(rank) => rank - 2,
        Axis::Last | Axis::Flat => 0,
    };
    let at = tensor.shape.len().checked_sub(behind + 1)?;
    Some((at, tensor.shape[at]))
}
