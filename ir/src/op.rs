//! What an operator of the Graph IR is, and how ONNX names one.
//!
//! An operator lives in one file of `ops/`, described by an [`OpDef`] in the list there. It says what it means
//! ([`Op::infer`], [`Op::eval`]) and how it is compiled: *either* [`Op::decompose`] into simpler operators *or*
//! [`Op::lower`] to kernel forms.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::counts::{Counts, Told};
use crate::dim::Dim;
use crate::error::{Error, Result};
pub use crate::fact::{Fact, Known};
use crate::graph::{PatchValue, ValueId, graph, patch};
use crate::kernel::Lowering;
use crate::tensor::Tensor;

/// How names of attributes begin that only text forms have: they keep what a model says by its opset. Models of others are
/// refused when they use them.
pub const PRIVATE_ATTRIBUTE: &str = "kiln.";

/// An attribute value of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// INT
    Int(i64),
    /// FLOAT
    Float(f32),
    /// STRING
    Str(String),
    /// TENSOR
    Tensor(Tensor),
    /// INTS
    Ints(Vec<i64>),
    /// FLOATS
    Floats(Vec<f32>),
    /// STRINGS
    Strs(Vec<String>),
    /// GRAPH: the body of a control-flow operator.
    Graph(Arc<Graph>),
}

/// A graph of operators. See [`graph::Graph`].
pub type Graph = graph::Graph<Arc<dyn Op>>;

/// An operator applied to values.
pub type Node = graph::Node<Arc<dyn Op>>;

/// A change of a graph, not yet made.
pub type Patch = patch::Patch<Arc<dyn Op>>;

/// Attributes by name, sorted, so that printing is deterministic.
pub type Attrs = BTreeMap<String, Attr>;

/// How an operator steers others.
#[derive(Clone, Copy, Debug)]
pub enum Flow<'a> {
    /// The first operand, a bool, says which half of the others are the results: what is needed for the other half only is
    /// not computed.
    Choice,
    /// A body that runs again and again.
    Loop(Turns<'a>),
}

/// A loop.
#[derive(Clone, Copy, Debug)]
pub struct Turns<'a> {
    /// What is run: on the number of the turn, the condition, the states and what is captured.
    pub body: &'a Graph,
    /// How many states there are: the operands behind a count and a condition, and the first results.
    pub states: usize,
    /// Whether the body lets the condition be.
    pub keeps_going: bool,
}

impl Turns<'_> {
    /// How many turns the operands of a loop say there are, where that is known: none where the condition is false from the
    /// start.
    pub fn known(inputs: &[Option<&Fact>]) -> Option<Dim> {
        let operand = |i: usize| inputs.get(i).copied().flatten();
        if operand(1).and_then(Fact::tensor).is_some_and(|t| t.data.iter().all(|b| *b == 0)) {
            return Some(Dim::Const(0));
        }
        let count = operand(0).and_then(Fact::dims).and_then(|dims| dims.into_iter().next())?;
        // Extents are not negative.
        Some(count.as_const().map_or(count, |n| Dim::Const(n.max(0))))
    }
}

/// What an operand must be.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Its position.
    pub operand: usize,
    /// The constant that takes its place.
    pub value: Tensor,
    /// How the operand is held against it at run time.
    pub check: Check,
}

/// What holds of an operand that agrees with a declared shape.
#[derive(Clone, Debug)]
pub enum Check {
    /// Any such constant gives the same result.
    Nothing,
    /// It has these elements.
    Equal,
    /// It has these elements, or what is at most this.
    EqualOrAtMost(i64),
    /// Its elements are axes that are marked.
    Axes(Vec<bool>),
}

/// An operator with its attributes. `Debug` is for developers; text forms use [`Op::attrs`].
pub trait Op: fmt::Debug + Send + Sync + 'static {
    /// ONNX `op_type`.
    fn name(&self) -> &'static str;

    /// ONNX domain; empty for the default one.
    fn domain(&self) -> &'static str {
        ""
    }

    /// Attributes such that the operator's `parse` gives this operator back, in any opset it supports.
    fn attrs(&self) -> Attrs;

    /// Types (and known elements, where cheap) of the outputs. One fact per output that the node has; inputs
    /// that the node leaves out are `None`. Checks everything about the inputs that the spec demands.
    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>>;

    /// The outputs, by the spec's naive formula. May rely on `infer` having accepted the inputs' types.
    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>>;

    /// Replaces a node whose results have sizes that are data, where inference refuses it as unsupported: inference then sees
    /// names in place of these. `Ok(None)` where that is no help.
    fn count(&self, _node: &NodeView<'_>, _counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        Ok(None)
    }

    /// Replaces a node whose body changes the sizes of what it is given, turn by turn, by one whose sizes are names. This comes
    /// before the body is inferred for the sizes of its first turn; `infer` does that for a copy.
    fn settle(
        &self,
        _node: &NodeView<'_>,
        _counts: &mut Counts<'_>,
        _infer: &mut dyn FnMut(&mut Graph) -> Result<()>,
    ) -> Result<Option<Patch>> {
        Ok(None)
    }

    /// Operands of integers that the shape of the first result follows from: those that a run computes are made sizes before
    /// inference, which needs a bound for them.
    fn shape_operands(&self) -> &'static [usize] {
        &[]
    }

    /// Names of the open dimensions that the node gives values to when it has run.
    fn counts(&self) -> &[Arc<str>] {
        &[]
    }

    /// Replaces the node by simpler ones; `Ok(None)` where there are none. `node` gives the operands' ids and
    /// facts; the patch must replace every output.
    fn decompose(&self, _node: &NodeView<'_>) -> Result<Option<Patch>> {
        Ok(None)
    }

    /// Emits kernel forms that compute the outputs.
    fn lower(&self, _cx: &mut Lowering<'_>) -> Result<()> {
        Err(Error::unsupported(format!(
            "operator {} is not supported on values that are computed at run time",
            self.name()
        )))
    }

    /// An operand that is computed at run time where it follows from what a model declares of the results, given what is known
    /// of the operands.
    fn declared(&self, _inputs: &[Option<&Fact>], _outputs: &[Option<&Fact>]) -> Option<Declared> {
        None
    }

    /// An upper bound of the multiplications that [`Op::eval`] takes, given the elements of the largest operand and of all
    /// results. More than their sum for operators that read an element for many results.
    fn work(&self, operand: u128, results: u128) -> u128 {
        operand.saturating_add(results)
    }

    /// Whether equal operands give equal results: random numbers are not constants, whatever they are made of.
    fn is_pure(&self) -> bool {
        true
    }

    /// Whether constant operands are folded however large the results are: it unpacks what a model keeps in fewer bytes
    /// than kernels take.
    fn unpacks(&self) -> bool {
        false
    }

    /// Whether kernels compute with f16 and bf16 as they are. Where not, the node computes in f32 and is put between
    /// conversions.
    fn takes_short_floats(&self) -> bool {
        true
    }

    /// Whether results are parts of the operand, so that elements which are left over are no mistake where its extents are
    /// open.
    fn takes_part(&self) -> bool {
        false
    }

    /// Whether the first result is the first operand unchanged where both have one type. The others, where there are any, are
    /// made without it.
    fn hands_on(&self) -> bool {
        false
    }

    /// How it steers others, where it is lowered to regions.
    fn flow(&self) -> Option<Flow<'_>> {
        None
    }

    /// The operator with another body, for these operands: `change` is given a body whose arguments have the types that they
    /// have then. Nothing where there is no body to change.
    fn with_body(
        &self,
        _inputs: &[Option<&Fact>],
        _change: &mut dyn FnMut(Graph) -> Result<Graph>,
    ) -> Result<Option<Arc<dyn Op>>> {
        Ok(None)
    }

    /// The operator without bodies that do not accept these operands, which `accept` finds out; nothing where all do. What
    /// it leaves out ends a run with a status.
    fn possible(
        &self,
        _inputs: &[Option<&Fact>],
        _accept: &mut dyn FnMut(Graph) -> Result<()>,
    ) -> Result<Option<Arc<dyn Op>>> {
        Ok(None)
    }

    /// The bodies of a control-flow operator. Values that a body captures are explicit inputs of the node.
    fn subgraphs(&self) -> Vec<Arc<Graph>> {
        Vec::new()
    }
}

impl graph::Operator for Arc<dyn Op> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        (**self).infer(inputs)
    }

    fn stays(&self) -> bool {
        !(**self).counts().is_empty()
    }
}

impl Patch {
    /// [`Patch::shared_node`] for an operator of its own.
    pub fn node(
        &mut self,
        graph: &Graph,
        name: &str,
        op: impl Op,
        inputs: &[Option<PatchValue>],
    ) -> Result<Vec<PatchValue>> {
        self.shared_node(graph, name, Arc::new(op), inputs)
    }

    /// [`Patch::node`] for an operator of one result whose inputs are all present.
    pub fn apply(
        &mut self,
        graph: &Graph,
        name: &str,
        op: impl Op,
        inputs: &[PatchValue],
    ) -> Result<PatchValue> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.node(graph, name, op, &inputs)?
            .first()
            .copied()
            .ok_or_else(|| Error::internal("operator without a result"))
    }
}

/// A node as `decompose` and the rewrite rules see it.
pub struct NodeView<'a> {
    /// The graph around it.
    pub graph: &'a Graph,
    /// Its name in the model.
    pub name: &'a str,
    /// Operand ids; `None` for optional inputs left out.
    pub inputs: &'a [Option<ValueId>],
    /// Result ids.
    pub outputs: &'a [ValueId],
}

impl NodeView<'_> {
    /// What the model says of result `i`.
    pub fn told(&self, i: usize) -> Told<'_> {
        let value = self.outputs.get(i).map(|id| self.graph.value(*id));
        let declared = value.and_then(|v| v.fact.as_ref()).map(|f| &f.shape);
        // Passes may have put another value in the place of a result, which keeps its name.
        let results = self.graph.outputs().iter().zip(self.graph.output_names());
        let known = results.filter(|(id, _)| self.outputs.get(i) == Some(*id)).map(|(_, name)| name).next();
        Told { name: known.or(value.map(|v| &v.name)).map_or("", String::as_str), declared }
    }

    /// The fact of input `i`; an internal error when it is absent or not inferred.
    pub fn fact(&self, i: usize) -> Result<&Fact> {
        let id = self.inputs.get(i).copied().flatten();
        id.and_then(|id| self.graph.value(id).fact.as_ref())
            .ok_or_else(|| Error::internal(format!("input {i} of '{}' has no inferred type", self.name)))
    }
}

/// What `parse` reads: a node of the model before it is an operator.
#[derive(Debug)]
pub struct NodeProto<'a> {
    /// Its attributes; `parse` removes the ones it reads, and what remains is reported as unknown.
    pub attrs: &'a mut Attrs,
    /// Version of the operator's domain that the model imports.
    pub opset: i64,
    /// Inputs that are present, in order; `false` for an empty name.
    pub inputs: &'a [bool],
    /// Number of outputs.
    pub outputs: usize,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $get:ident $variant:ident $t:ty, $what:literal;)*) => { $(
        $(#[$doc])*
        pub fn $get(&mut self, name: &str) -> Result<Option<$t>> {
            match self.attrs.remove(name) {
                None => Ok(None),
                Some(Attr::$variant(value)) => Ok(Some(value)),
                Some(other) => Err(Error::invalid(format!("attribute '{name}' must be {}, found {other:?}", $what))),
            }
        }
    )* };
}

impl NodeProto<'_> {
    getters! {
        /// Takes an INT attribute.
        int Int i64, "an integer";
        /// Takes a FLOAT attribute.
        float Float f32, "a float";
        /// Takes a STRING attribute.
        string Str String, "a string";
        /// Takes a TENSOR attribute.
        tensor Tensor Tensor, "a tensor";
        /// Takes an INTS attribute.
        ints Ints Vec<i64>, "a list of integers";
        /// Takes a FLOATS attribute.
        floats Floats Vec<f32>, "a list of floats";
        /// Takes a STRINGS attribute.
        strings Strs Vec<String>, "a list of strings";
        /// Takes a GRAPH attribute.
        graph Graph Arc<Graph>, "a graph";
    }

    /// Takes an INT attribute that is 0 or 1.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool> {
        match self.int(name)? {
            None => Ok(default),
            Some(v @ (0 | 1)) => Ok(v == 1),
            Some(v) => Err(Error::invalid(format!("attribute '{name}' must be 0 or 1, found {v}"))),
        }
    }

    /// Checks the number of inputs (present or left out) and of outputs; the first `inputs.start()` inputs
    /// must be present.
    pub fn arity(
        &self,
        inputs: std::ops::RangeInclusive<usize>,
        outputs: std::ops::RangeInclusive<usize>,
    ) -> Result<()> {
        let present = self.inputs.iter().rposition(|p| *p).map_or(0, |i| i + 1);
        if !inputs.contains(&present) || self.inputs[..*inputs.start()].contains(&false) {
            return Err(Error::invalid(format!("needs {} inputs, found {present}", range_text(&inputs))));
        }
        if !outputs.contains(&self.outputs) {
            return Err(Error::invalid(format!(
                "needs {} outputs, found {}",
                range_text(&outputs),
                self.outputs
            )));
        }
        Ok(())
    }
}

fn range_text(range: &std::ops::RangeInclusive<usize>) -> String {
    match (*range.start(), *range.end()) {
        (a, b) if a == b => a.to_string(),
        (a, usize::MAX) => format!("at least {a}"),
        (a, b) => format!("{a} to {b}"),
    }
}

/// Reads a node into an operator.
pub type ParseFn = fn(&mut NodeProto<'_>) -> Result<Box<dyn Op>>;

/// One line of the operator list.
pub struct OpDef {
    /// ONNX `op_type`.
    pub name: &'static str,
    /// ONNX domain; empty for the default one.
    pub domain: &'static str,
    /// Oldest and newest version of the operator (its `since_version`s) that `parse` understands. A model of a
    /// newer opset is accepted: operators keep their meaning until their next version.
    pub since: (i64, i64),
    /// Reads a node.
    pub parse: ParseFn,
    /// What of the operator is not supported, for `kiln list ops`; empty when all of it is.
    pub unsupported: &'static str,
}

/// The domain of ONNX Runtime's own operators.
pub const MICROSOFT: &str = "com.microsoft";

/// The newest opset of the default domain whose operators Kiln knows.
pub const NEWEST_OPSET: i64 = 24;
