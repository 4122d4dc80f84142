//! `Loop`: a body again and again.
//!
//! Spec: ONNX Loop, versions 1 to 24. Inputs: how often at most, whether at all, initial states; both of the first may be left
//! out. The body takes the turn's number, the condition and the states, and gives the next condition, the next states and
//! elements of scan outputs, which are put together along a new first axis. Outer values that the body reads are further
//! inputs of node and body; how many they are is a private attribute, since nothing else tells them from states.
//!
//! Few turns that are known are unrolled, which lets states change their types. Others are lowered to a region. A state that
//! changes its size there has room for the most (`growing`), and so have scan outputs where the number of turns does not follow
//! from constants and extents (`scanned`). Unsupported: states that change their rank or element type over many turns;
//! elements of a scan output that differ in size; sequences and optional values.

mod growing;
mod scanned;

use std::sync::Arc;

use super::concat;
use super::identity::Identity;
use super::squeeze;
use super::{body, operand};
use crate::bail_invalid;
use crate::counts::Counts;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::graph::{Graph, Patch, PatchValue};
use crate::op::{Attr, Attrs, Fact, Flow, NEWEST_OPSET, NodeProto, NodeView, Op, OpDef, Turns};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// The private attribute: how many of the inputs are outer values.
pub const CAPTURES: &str = "kiln.captures";

/// The private attribute: which axes of states have room for more than they hold: state, axis and extent of each.
const ROOMS: &str = "kiln.rooms";

/// The private attribute: how many elements scan outputs have room for.
const MOST: &str = "kiln.most";

/// Turns that a machine comes to the end of: a day and more of the shortest ones.
const MOST_TURNS: i64 = 1 << 48;

/// Turns that are always unrolled.
const FEW: i64 = 4;
/// Turns that are unrolled where states change their types.
const SOME: i64 = 256;

/// `Loop`.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// What is run.
    body: Arc<Graph>,
    /// Values from outside, the last inputs of node and body.
    captures: usize,
    /// States: behind two inputs, before the captured ones.
    states: usize,
    outputs: usize,
    /// Axes of states that have room for more than they hold, which are their first elements there.
    rooms: Vec<Room>,
    /// How many elements scan outputs have room for; those behind the last turn have no meaning.
    most: Option<i64>,
}

/// An axis of a state with room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    state: usize,
    axis: usize,
    extent: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(0..=usize::MAX, 0..=usize::MAX)?;
    let captures = usize::try_from(node.int(CAPTURES)?.unwrap_or(0)).unwrap_or(usize::MAX);
    let body = node.graph("body")?.ok_or_else(|| Error::invalid("attribute 'body' is missing"))?;
    let Some(states) = node.inputs.len().checked_sub(captures.saturating_add(2)) else {
        bail_invalid!("needs a count and a condition, which may be left out by an empty name");
    };
    let rooms = node.ints(ROOMS)?.unwrap_or_default();
    let room = |list: &[i64]| {
        let [state, axis] = [list[0], list[1]].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Room { state, axis, extent: list[2] }
    };
    let rooms: Vec<Room> = rooms.chunks_exact(3).map(room).collect();
    let most = node.int(MOST)?;
    if rooms.iter().any(|r| r.state >= states || r.extent < 0) || most.is_some_and(|n| n < 0) {
        bail_invalid!("attributes '{ROOMS}' and '{MOST}' do not fit {states} states");
    }
    Ok(Box::new(Loop { rooms, most, ..Loop::new(body, captures, states, node.outputs)? }))
}

/// `Loop`.
pub const DEF: OpDef = OpDef {
    name: "Loop",
    domain: "",
    since: (1, 24),
    parse,
    unsupported: "states that change their element type or rank over many turns",
};

impl Loop {
    /// A loop of so many states, whose body reads so many values from outside.
    ///
    /// # Errors
    ///
    /// Invalid, where the body has not as many inputs and results.
    pub fn new(body: Arc<Graph>, captures: usize, states: usize, outputs: usize) -> Result<Self> {
        let (inputs, results) = (body.inputs().len(), body.outputs().len());
        if inputs != 2 + states + captures {
            bail_invalid!(
                "attribute 'body' is a graph of {inputs} inputs, of which {captures} are values from outside; {} \
                 are needed",
                2 + states + captures
            );
        }
        if results < 1 + states || outputs > results - 1 {
            bail_invalid!("attribute 'body' has {results} results for {states} states and {outputs} outputs");
        }
        Ok(Self { body, captures, states, outputs, rooms: Vec::new(), most: None })
    }

    /// The shape that a state has room for.
    fn room(&self, state: usize, shape: &Shape) -> Result<Shape> {
        let mut shape = shape.clone();
        for room in self.rooms.iter().filter(|room| room.state == state) {
            let Some(extent) = shape.0.get_mut(room.axis) else {
                bail_invalid!("state {state} has no axis {} that could have room", room.axis);
            };
            *extent = room.extent.into();
        }
        Ok(shape)
    }

    /// Whether a turn may leave this of a state of the other type.
    fn fits(&self, state: usize, before: &Fact, after: &Fact) -> Result<bool> {
        let same = before.dtype == after.dtype && before.shape.rank() == after.shape.rank();
        Ok(same && self.room(state, &after.shape)? == before.shape)
    }

    /// Whether the condition holds at the start, where that is known.
    fn start(&self, inputs: &[Option<&Fact>]) -> Result<Option<bool>> {
        let Some(condition) = inputs.get(1).copied().flatten() else { return Ok(Some(true)) };
        if condition.dtype != DType::Bool {
            bail_invalid!("the condition must be one bool, found {}", condition.ty());
        }
        Ok(condition.tensor().and_then(|t| t.data.first()).map(|b| *b != 0))
    }

    /// Whether the body lets the condition be: its result is true, or what the body was given.
    fn keeps_going(&self) -> bool {
        let graph = &self.body;
        let mut value = graph.outputs()[0];
        // Copies of copies.
        while let Some(node) = graph.producer(value).map(|id| graph.node(id))
            && node.op.hands_on()
            && let Some(from) = node.inputs.first().copied().flatten()
        {
            value = from;
        }
        let known = graph.value(value).fact.as_ref().and_then(Fact::tensor);
        let holds = |t: &Tensor| t.dtype == DType::Bool && t.data.iter().all(|b| *b != 0);
        value == graph.inputs()[1] || graph.constant(value).or(known).is_some_and(holds)
    }

    /// How many turns there are in every run, where that follows from the operands.
    fn certain(&self, inputs: &[Option<&Fact>]) -> Result<Option<Dim>> {
        let turns = Turns::known(inputs).filter(|n| n.is(0) || self.keeps_going());
        Ok(turns.filter(|_| self.start(inputs).is_ok_and(|start| start.is_some())))
    }

    /// The facts of the body's arguments.
    fn arguments(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        if let Some(count) = inputs.first().copied().flatten()
            && (count.dtype != DType::I64 || !count.shape.iter().all(|d| d.is(1)))
        {
            bail_invalid!("the number of turns must be one i64, found {}", count.ty());
        }
        let mut facts =
            vec![Fact::new(DType::I64, Shape::default()), Fact::new(DType::Bool, Shape::default())];
        for i in 2..2 + self.states {
            let fact = operand::fact(inputs, i)?;
            facts.push(Fact::new(fact.dtype, self.room(i - 2, &fact.shape)?));
        }
        for i in 2 + self.states..2 + self.states + self.captures {
            facts.push(operand::fact(inputs, i)?.clone());
        }
        Ok(facts)
    }

    /// How many turns are to be unrolled.
    fn unrolled(&self, inputs: &[Option<&Fact>]) -> Result<Option<i64>> {
        // One with room has been looked at before it had some.
        if !self.rooms.is_empty() || self.most.is_some() {
            return Ok(None);
        }
        let known = Turns::known(inputs).and_then(|d| d.as_const());
        let Some(turns) = known.filter(|n| self.keeps_going() && *n <= SOME) else { return Ok(None) };
        let all = self.start(inputs)? == Some(true) || turns == 0;
        if !all {
            return Ok(None);
        }
        let same = || -> Result<bool> {
            let arguments = self.arguments(inputs)?;
            let results = match body::inferred(&self.body, &arguments) {
                Some(results) => results,
                None => body::infer(&self.body, arguments.clone())?,
            };
            Ok((0..self.states).all(|i| results[1 + i].ty() == arguments[2 + i].ty()))
        };
        let unroll = turns <= FEW || !same().unwrap_or(false);
        Ok(unroll.then_some(turns))
    }
}

impl Op for Loop {
    fn name(&self) -> &'static str {
        "Loop"
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::from([
            ("body".to_owned(), Attr::Graph(self.body.clone())),
            (CAPTURES.to_owned(), Attr::Int(self.captures as i64)),
        ]);
        if !self.rooms.is_empty() {
            let rooms = self.rooms.iter().flat_map(|r| [r.state as i64, r.axis as i64, r.extent]).collect();
            attrs.insert(ROOMS.to_owned(), Attr::Ints(rooms));
        }
        attrs.extend(self.most.map(|most| (MOST.to_owned(), Attr::Int(most))));
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let arguments = self.arguments(inputs)?;
        let results = match body::inferred(&self.body, &arguments) {
            Some(results) => results,
            None => body::infer(&self.body, arguments.clone())?,
        };
        if results[0].dtype != DType::Bool {
            bail_invalid!("the body's first result must be a bool, found {}", results[0].ty());
        }
        let turns = Turns::known(inputs).and_then(|d| d.as_const());
        let endless = turns.is_none_or(|n| n > MOST_TURNS)
            && inputs.first().copied().flatten().is_none_or(|m| m.tensor().is_some());
        if endless && self.keeps_going() && self.start(inputs)? == Some(true) {
            return Err(Error::unsupported(
                "a loop that does not end is not supported: its condition is always true",
            )
            .hint("give it a number of turns, or a condition that becomes false"));
        }
        let mut facts = Vec::new();
        for i in 0..self.states {
            let (before, after) = (&arguments[2 + i], &results[1 + i]);
            if !self.fits(i, before, after)? {
                return Err(Error::unsupported(format!(
                    "state {i} is {} before a turn and {} after it, which is not supported",
                    before.ty(),
                    after.ty()
                ))
                .hint("a state may change its size, not its rank and element type, over many turns"));
            }
            facts.push(Fact::new(before.dtype, before.shape.clone()));
        }
        let scanned = &results[1 + self.states..];
        if !scanned.is_empty() {
            let most = self.most.map(Dim::Const);
            let Some(turns) = most.map_or_else(|| self.certain(inputs), |most| Ok(Some(most)))? else {
                return Err(Error::unsupported(
                    "scan outputs of a number of turns that is known at run time only are not supported here",
                )
                .hint("the number of turns must follow from constants and from the extents of the inputs"));
            };
            for (i, fact) in scanned.iter().enumerate() {
                let counted = |name: &Arc<str>| self.body.counted.contains_key(name);
                if fact.shape.iter().any(|extent| extent.symbols().iter().any(counted)) {
                    return Err(Error::unsupported(format!(
                        "scan output {i} is put together of {}, whose size each turn counts anew",
                        fact.ty()
                    )));
                }
                let shape = [turns.clone()].into_iter().chain(fact.shape.iter().cloned()).collect();
                facts.push(Fact::new(fact.dtype, operand::checked(shape)?));
            }
        }
        facts.truncate(self.outputs);
        Ok(facts)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let scalar = |i: usize| inputs.get(i).copied().flatten();
        let trips = scalar(0).map(|t| t.to_i64s()).transpose()?.and_then(|all| all.first().copied());
        let mut go = scalar(1).is_none_or(|t| t.data.first().is_some_and(|b| *b != 0));
        let rest = (2..inputs.len()).map(|i| operand::tensor(inputs, i).cloned());
        let mut rest = rest.collect::<Result<Vec<Tensor>>>()?;
        let captured = rest.split_off(self.states);
        let roomy = |states: Vec<Tensor>| -> Result<Vec<Tensor>> {
            states.into_iter().enumerate().map(|(i, state)| self.in_room(i, state)).collect()
        };
        let mut states = roomy(rest)?;
        let mut scanned: Vec<Vec<Tensor>> = vec![Vec::new(); self.body.outputs().len() - 1 - self.states];
        for turn in 0..trips.unwrap_or(i64::MAX) {
            if !go {
                break;
            }
            let steering = [Tensor::from_vec(&[], vec![turn]), Tensor::from_bools(&[], [go])];
            let arguments: Vec<Tensor> = steering.into_iter().chain(states).chain(captured.clone()).collect();
            let mut results = body::run(&self.body, &arguments)?.into_iter();
            go = results.next().is_some_and(|t| t.data.first().is_some_and(|b| *b != 0));
            states = roomy(results.by_ref().take(self.states).collect())?;
            scanned.iter_mut().zip(results).for_each(|(all, element)| all.push(element));
        }
        let mut outputs = states;
        for (i, elements) in scanned.into_iter().enumerate() {
            outputs.push(match elements.first() {
                Some(first) => {
                    if elements.iter().any(|e| e.shape != first.shape) {
                        bail_invalid!("elements of scan output {i} have different shapes");
                    }
                    let rows = self.most.map_or(elements.len(), |most| most as usize);
                    if rows < elements.len() {
                        bail_invalid!("{} turns, of which {rows} have room", elements.len());
                    }
                    let shape = [&[rows], &first.shape[..]].concat();
                    let mut data: Vec<u8> = elements.iter().flat_map(|e| e.data.iter().copied()).collect();
                    data.resize(rows * first.data.len(), 0);
                    Tensor::new(first.dtype, shape, data.into())?
                }
                None => {
                    let arguments: Vec<Fact> = inputs.iter().skip(2).flatten().map(|t| Fact::of(t)).collect();
                    let steering = [DType::I64, DType::Bool].map(|dtype| Fact::new(dtype, Shape::default()));
                    let facts = body::infer(&self.body, steering.into_iter().chain(arguments).collect())?;
                    let fact = &facts[1 + self.states + i];
                    let shape = fact.shape.as_const().ok_or_else(|| Error::internal("an open shape"))?;
                    let rows = self.most.unwrap_or(0) as usize;
                    Tensor::zeros(fact.dtype, &[&[rows], &shape[..]].concat())
                }
            });
        }
        outputs.truncate(self.outputs);
        Ok(outputs)
    }

    fn decompose(&self, node: &NodeView<'_>) -> Result<Option<Patch>> {
        let facts: Vec<Option<&Fact>> =
            node.inputs.iter().map(|v| v.and_then(|v| node.graph.value(v).fact.as_ref())).collect();
        let Some(turns) = self.unrolled(&facts)? else { return Ok(None) };
        let mut patch = Patch::new();
        let outer = |range: std::ops::Range<usize>| -> Vec<PatchValue> {
            node.inputs[range].iter().flatten().map(|v| (*v).into()).collect()
        };
        let (mut states, captured) =
            (outer(2..2 + self.states), outer(2 + self.states..2 + self.states + self.captures));
        let mut scanned: Vec<Vec<PatchValue>> = vec![Vec::new(); self.body.outputs().len() - 1 - self.states];
        let go = patch.constant(&format!("{}/go", node.name), Tensor::from_bools(&[], [true]));
        for turn in 0..turns {
            let name = format!("{}/{turn}", node.name);
            let number = patch.constant(&format!("{name}/turn"), Tensor::from_vec(&[], vec![turn]));
            let arguments: Vec<PatchValue> =
                [number, go].into_iter().chain(states).chain(captured.iter().copied()).collect();
            let results = patch.splice(&self.body, &arguments, &name)?;
            states = results[1..1 + self.states].to_vec();
            for (all, element) in scanned.iter_mut().zip(&results[1 + self.states..]) {
                all.push(*element);
            }
        }
        let mut results: Vec<PatchValue> = Vec::new();
        for state in states {
            results.push(patch.untyped_node(node.name, Arc::new(Identity), &[Some(state)], 1)[0]);
        }
        for (i, elements) in scanned.into_iter().enumerate().take(self.outputs.saturating_sub(self.states)) {
            if elements.is_empty() {
                let fact = self.infer(&facts)?.swap_remove(self.states + i);
                let shape = fact.shape.as_const();
                let shape = shape.ok_or_else(|| {
                    Error::unsupported(
                        "a loop of no turns whose elements have an open shape is not supported",
                    )
                    .hint("bind its dimensions with --dim")
                })?;
                results
                    .push(patch.constant(&format!("{}/none", node.name), Tensor::zeros(fact.dtype, &shape)));
                continue;
            }
            let axis = patch.constant(&format!("{}/axis", node.name), Tensor::from_vec(&[1], vec![0i64]));
            let mut rows = Vec::new();
            for element in elements {
                let op = operator(&squeeze::UNSQUEEZE, &[], 2)?;
                let name = format!("{}/{i}", node.name);
                rows.push(Some(patch.untyped_node(&name, op, &[Some(element), Some(axis)], 1)[0]));
            }
            let op = operator(&concat::DEF, &[("axis", Attr::Int(0))], rows.len())?;
            results.push(patch.untyped_node(&format!("{}/scan{i}", node.name), op, &rows, 1)[0]);
        }
        node.outputs.iter().zip(results).for_each(|(old, new)| patch.replace(*old, new));
        Ok(Some(patch))
    }

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        self.counted(node, counts)
    }

    fn settle(
        &self,
        node: &NodeView<'_>,
        counts: &mut Counts<'_>,
        infer: &mut dyn FnMut(&mut Graph) -> Result<()>,
    ) -> Result<Option<Patch>> {
        self.grown(node, counts, infer)
    }

    fn subgraphs(&self) -> Vec<Arc<Graph>> {
        vec![self.body.clone()]
    }

    fn flow(&self) -> Option<Flow<'_>> {
        let keeps_going = self.keeps_going();
        Some(Flow::Loop(Turns { body: &self.body, states: self.states, keeps_going }))
    }

    fn with_body(
        &self,
        inputs: &[Option<&Fact>],
        change: &mut dyn FnMut(Graph) -> Result<Graph>,
    ) -> Result<Option<Arc<dyn Op>>> {
        let body = change(body::typed(&self.body, &self.arguments(inputs)?))?;
        Ok(Some(Arc::new(Self { body: Arc::new(body), ..self.clone() })))
    }

    fn work(&self, _: u128, _: u128) -> u128 {
        u128::MAX
    }
}

/// An operator of the default domain, of one result.
pub(super) fn operator(def: &OpDef, list: &[(&str, Attr)], inputs: usize) -> Result<Arc<dyn Op>> {
    let mut attrs: Attrs = list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let present = vec![true; inputs];
    let mut node = NodeProto { attrs: &mut attrs, opset: NEWEST_OPSET, inputs: &present, outputs: 1 };
    Ok(Arc::from((def.parse)(&mut node)?))
}
