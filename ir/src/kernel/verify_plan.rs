//! Rules that every plan obeys, as far as they can be seen without running it; [`eval::plan`](crate::eval::plan) sees
//! the rest.
//!
//! - Slots and constants are inside their blocks, at multiples of the alignment, and constants do not overlap.
//! - Every access has one stride per loop, names storage that there is, and lies in it: a slot that lives in the
//!   kernel. Elements are aligned. Guards and a value outside of them come together; indices are i32, i64 or bytes.
//! - A slot that is over another begins as that one ends, in a kernel that reads each element where it writes it.
//! - Arguments that are copied lie in slots that live from the first kernel on.
//! - What steers a region is a single element of its type that lives in all of it.
//! - A schedule names every loop once, those of the outside first, and what it promises of strides is true.

mod over;
mod schedules;

use std::sync::Arc;

use super::access::LoopId;
use super::form::{Form, Role};
use super::plan::{Copied, FlatAccess, Plan, PlannedKernel, Provider, Schedule, Slot, Storage};
use super::regions::{Control, Repeat, Step, Trips};
use crate::error::{Error, Result};
use crate::types::DType;

/// Checks a plan; an internal error names the kernel and the rule.
pub fn verify_plan(plan: &Plan) -> Result<()> {
    memory(plan)?;
    over::slots(plan)?;
    copied(plan)?;
    counted(plan)?;
    plan.steps().iter().try_for_each(|step| region(plan, step))?;
    for (position, kernel) in plan.kernels.iter().enumerate() {
        let checker = Checker { plan, kernel, position };
        checker.kernel().map_err(|e| {
            let message = format!("plan verifier: {}", e.message);
            Error { message, ..e }.at(&kernel.name, kernel.form.name())
        })?;
    }
    Ok(())
}

fn rule<T>(message: String) -> Result<T> {
    Err(Error::internal(message))
}

/// Cells are single elements of their type, in storage that lives in all of their region.
fn region(plan: &Plan, step: &Step) -> Result<()> {
    let Step::Region(id, inner) = step else { return Ok(()) };
    // A kernel without loops, as which a cell is looked at.
    let kernel = PlannedKernel {
        name: String::new(),
        nodes: vec![],
        loops: vec![],
        form: Form::Map { stores: vec![] },
        schedule: Schedule::Scalar { order: vec![] },
        provider: Provider::Plain,
        shared: None,
        why: String::new(),
        grain: None,
        bounds: Arc::default(),
    };
    let check = |cell: &FlatAccess, dtype: DType, load: bool| {
        for position in [step.first(), step.last()] {
            Checker { plan, kernel: &kernel, position }.access(cell, load)?;
        }
        if cell.dtype != dtype || !cell.gathers.is_empty() || !cell.guards.is_empty() {
            return rule(format!("'{}' of {} steers a region, which takes {dtype}", cell.name, cell.dtype));
        }
        Ok(())
    };
    match &plan.regions[id.0 as usize].control {
        Control::When { condition, .. } => {
            let position = step.first();
            Checker { plan, kernel: &kernel, position }.access(condition, true)?;
            if condition.dtype != DType::Bool {
                return rule(format!("'{}' of {} is a condition", condition.name, condition.dtype));
            }
        }
        Control::Loop(Repeat { counter, trips, condition, .. }) => {
            check(counter, DType::I64, false)?;
            if let Some(Trips::Read(count)) = trips {
                check(count, DType::I64, true)?;
            }
            if let Some(condition) = condition {
                check(condition, DType::Bool, true)?;
            }
        }
    }
    inner.iter().try_for_each(|step| region(plan, step))
}

/// Sizes that a run counts have bounds and a place that lives when they are read, each is counted once, and kernels ask for
/// it behind that.
fn counted(plan: &Plan) -> Result<()> {
    for (i, c) in plan.counted.iter().enumerate() {
        let (name, at) = (&c.name, c.offset_bytes);
        if !plan.bounds.contains_key(name) || plan.counted[..i].iter().any(|other| other.name == *name) {
            return rule(format!("the size '{name}' has no bounds or is counted twice"));
        }
        let holds = |s: &Slot| {
            s.offset_bytes <= at
                && at + 8 <= s.offset_bytes + s.bytes
                && (s.live.0..=s.live.1).contains(&c.after)
        };
        if !at.is_multiple_of(8) || !plan.slots.iter().any(holds) {
            return rule(format!(
                "the size '{name}' is read at byte {at}, where nothing lives after kernel {}",
                c.after
            ));
        }
        let asks = |k: &PlannedKernel| k.sizes().iter().any(|size| size.symbols().contains(name));
        if let Some(early) = plan.kernels.iter().take(c.after + 1).find(|k| asks(k)) {
            return rule(format!("'{}' asks for '{name}' before it is counted", early.name));
        }
    }
    Ok(())
}

/// Arguments are copied once, to slots that hold them and live when they are.
fn copied(plan: &Plan) -> Result<()> {
    for (i, Copied { input, offset_bytes }) in plan.copied.iter().enumerate() {
        let Some(port) = plan.inputs.get(*input) else {
            return rule(format!("input {input} is copied, which does not exist"));
        };
        if plan.copied[..i].iter().any(|other| other.input >= *input) {
            return rule(format!("input {input} is copied twice or behind a later one"));
        }
        let most = port.ty.shape.elements().most(&plan.bounds).and_then(|n| usize::try_from(n).ok());
        let bytes = most.map(|n| port.ty.dtype.bytes_of(n));
        let holds = |s: &Slot| {
            s.offset_bytes == *offset_bytes && s.live.0 == 0 && bytes.is_some_and(|bytes| bytes <= s.bytes)
        };
        if !plan.slots.iter().any(holds) {
            return rule(format!("input {input} is copied to byte {offset_bytes}, where it has no room"));
        }
    }
    Ok(())
}

fn memory(plan: &Plan) -> Result<()> {
    for slot in &plan.slots {
        let end = slot.offset_bytes.checked_add(slot.bytes);
        if end.is_none_or(|end| end > plan.arena_bytes) {
            return rule(format!(
                "slot '{}' is not inside the arena of {} bytes",
                slot.name, plan.arena_bytes
            ));
        }
        if plan.arena_align > 0 && !slot.offset_bytes.is_multiple_of(plan.arena_align) {
            return rule(format!("slot '{}' at byte {} is not aligned", slot.name, slot.offset_bytes));
        }
    }
    let mut constants: Vec<(usize, usize, &str)> =
        plan.weights.iter().map(|w| (w.offset_bytes, w.tensor.data.len(), &*w.name)).collect();
    constants.sort_unstable();
    for &(offset, bytes, name) in &constants {
        if offset.checked_add(bytes).is_none_or(|end| end > plan.weights_bytes) {
            return rule(format!(
                "constant '{name}' is not inside the {} read-only bytes",
                plan.weights_bytes
            ));
        }
    }
    for pair in constants.windows(2) {
        let ((a, n, first), (b, m, second)) = (pair[0], pair[1]);
        // Equal bytes are held once.
        if a + n > b && (a, n) != (b, m) {
            return rule(format!("constants '{first}' and '{second}' overlap"));
        }
    }
    Ok(())
}

struct Checker<'a> {
    plan: &'a Plan,
    kernel: &'a PlannedKernel,
    position: usize,
}

impl Checker<'_> {
    fn kernel(&self) -> Result<()> {
        let form = &self.kernel.form;
        form.loads().into_iter().try_for_each(|a| self.access(a, true))?;
        form.stores().into_iter().try_for_each(|a| self.access(a, false))?;
        if let Some(shared) = self.kernel.shared
            && (shared.step == 0 || self.role(shared.along)? != Role::Parallel)
        {
            return rule("the shared loop is parallel, in steps of one at least".to_owned());
        }
        self.kernel.check_open().or_else(rule)?;
        if self.plan.row_of(self.kernel).is_none() {
            return rule(format!("the sizes {:?} are not in the plan's table", self.kernel.sizes()));
        }
        let plain = matches!(self.kernel.schedule, Schedule::Scalar { .. });
        if plain != (self.kernel.provider == Provider::Plain) {
            return rule(format!("{:?} makes another kind of schedule", self.kernel.provider));
        }
        self.schedule()
    }

    fn role(&self, l: LoopId) -> Result<Role> {
        match self.kernel.loops.get(l.0 as usize) {
            Some(l) => Ok(l.role),
            None => rule(format!("loop {} does not exist", l.0)),
        }
    }

    fn access(&self, a: &FlatAccess, load: bool) -> Result<()> {
        let name = &a.name;
        let loops = self.kernel.loops.len();
        if a.strides.len() != loops || a.guards.iter().any(|g| g.coefficients.len() != loops) {
            return rule(format!("'{name}' has not one stride per loop"));
        }
        if a.guards.is_empty() != a.otherwise.is_none() {
            return rule(format!("'{name}' has guards or a value outside of them, not both"));
        }
        if a.otherwise.is_some_and(|o| o.dtype != a.dtype) {
            return rule(format!("'{name}' of {} has a value of another type outside", a.dtype));
        }
        let plan = self.plan;
        let lives = |offset_bytes: usize| {
            let here =
                |s: &Slot| s.offset_bytes == offset_bytes && (s.live.0..=s.live.1).contains(&self.position);
            plan.slots.iter().any(here)
        };
        let (there, offset_bytes) = match a.storage {
            Storage::Input(i) => {
                let port = plan.inputs.get(i).is_some_and(|p| p.ty.dtype == a.dtype);
                match plan.found(a.storage) {
                    Storage::Arena { offset_bytes } => (load && port && lives(offset_bytes), offset_bytes),
                    _ => (load && port, 0),
                }
            }
            Storage::Output(i) => (plan.outputs.get(i).is_some_and(|p| p.ty.dtype == a.dtype), 0),
            Storage::Weights { offset_bytes } => {
                (load && plan.weights.iter().any(|w| w.offset_bytes == offset_bytes), offset_bytes)
            }
            Storage::Arena { offset_bytes } => (lives(offset_bytes), offset_bytes),
        };
        if !there {
            let does = if load { "read" } else { "written" };
            return rule(format!(
                "'{name}' of {} is {does} at {:?}, where there is no such thing",
                a.dtype, a.storage
            ));
        }
        if a.dtype.size() > 0 && !offset_bytes.is_multiple_of(a.dtype.size()) {
            return rule(format!("'{name}' of {} at byte {offset_bytes} is not aligned", a.dtype));
        }
        a.gathers.iter().try_for_each(|g| {
            if !matches!(g.index.dtype, DType::I32 | DType::I64 | DType::U8 | DType::I8) {
                return rule(format!("'{name}' is indexed by {}", g.index.dtype));
            }
            self.access(&g.index, true)
        })
    }

    /// A schedule's loops: every one once; parallel ones before reduced ones within `order`.
    fn once(&self, order: &[LoopId], others: &[LoopId]) -> Result<()> {
        let mut all: Vec<LoopId> = order.iter().chain(others).copied().collect();
        all.sort_unstable();
        let wanted: Vec<LoopId> = (0..self.kernel.loops.len() as u16).map(LoopId).collect();
        if all != wanted {
            return rule("the schedule does not name every loop once".to_owned());
        }
        for pair in order.windows(2) {
            if self.role(pair[0])? == Role::Reduce && self.role(pair[1])? == Role::Parallel {
                return rule("a parallel loop inside a reduced one".to_owned());
            }
        }
        Ok(())
    }

    fn is(&self, loops: &[LoopId], role: Role) -> Result<()> {
        for &l in loops {
            if self.role(l)? != role {
                let name = &self.kernel.loops[l.0 as usize].name;
                return rule(format!("the schedule needs a {role:?} loop, which '{name}' is not"));
            }
        }
        Ok(())
    }

    /// Refuses an access whose stride in a loop is none of `allowed`.
    fn stride(&self, a: &FlatAccess, l: LoopId, allowed: &[i64]) -> Result<()> {
        let stride = a.strides[l.0 as usize].as_const();
        if stride.is_some_and(|s| allowed.contains(&s)) {
            return Ok(());
        }
        let (name, along) = (&a.name, &self.kernel.loops[l.0 as usize].name);
        rule(format!(
            "'{name}' has a stride of {} in '{along}', {allowed:?} promised",
            a.strides[l.0 as usize]
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;
    use crate::kernel::Store;
    use crate::kernel::expr::Expr;
    use crate::kernel::form::Loop;
    use crate::kernel::plan::{Dots, Nest, Port, Shared, Slot, Weight};
    use crate::tensor::Tensor;
    use crate::types::{Shape, TensorType};

    fn access(storage: Storage, strides: &[i64]) -> FlatAccess {
        FlatAccess {
            name: "b".into(),
            storage,
            dtype: DType::F32,
            offset: Dim::Const(0),
            strides: strides.iter().copied().map(Dim::Const).collect(),
            gathers: vec![],
            guards: vec![],
            otherwise: None,
        }
    }

    /// A copy of 2 x 8 elements from a slot, in vectors.
    fn plan() -> Plan {
        let loop_ = |name: &str, n| Loop { name: name.into(), extent: Dim::Const(n), role: Role::Parallel };
        let nest = Nest {
            order: vec![LoopId(0)],
            vector: LoopId(1),
            vectors: 1,
            tile: None,
            unrolled: vec![],
            columns: false,
            quads: false,
        };
        let kernel = PlannedKernel {
            name: "k".into(),
            nodes: vec![],
            loops: vec![loop_("r", 2), loop_("c", 8)],
            form: Form::Rearrange {
                from: access(Storage::Arena { offset_bytes: 64 }, &[8, 1]),
                to: access(Storage::Output(0), &[8, 1]),
            },
            schedule: Schedule::Nest(nest),
            provider: Provider::Portable { vector_bytes: 16 },
            shared: Some(Shared { along: LoopId(0), step: 1 }),
            why: String::new(),
            grain: None,
            bounds: Default::default(),
        };
        let weight = |name: &str, offset_bytes| Weight {
            name: name.into(),
            offset_bytes,
            tensor: Tensor::zeros(DType::F32, &[16]),
        };
        Plan {
            outputs: vec![Port { name: "y".into(), ty: TensorType::new(DType::F32, Shape::of(&[2, 8])) }],
            arena_bytes: 128,
            arena_align: 64,
            slots: vec![Slot { name: "t".into(), offset_bytes: 64, bytes: 64, live: (0, 0), over: None }],
            weights: vec![weight("v", 0), weight("w", 64)],
            weights_bytes: 128,
            kernels: vec![kernel],
            ..Plan::default()
        }
    }

    #[test]
    fn sound_plans_pass_and_each_rule_has_its_message() {
        verify_plan(&plan()).unwrap();
        let says = |change: &dyn Fn(&mut Plan), message: &str| {
            let mut plan = plan();
            change(&mut plan);
            let error = verify_plan(&plan).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        says(&|p| p.arena_bytes = 127, "slot 't' is not inside the arena");
        says(&|p| p.arena_align = 128, "slot 't' at byte 64 is not aligned");
        says(&|p| p.weights_bytes = 127, "constant 'w' is not inside");
        says(&|p| p.weights[1].offset_bytes = 32, "constants 'v' and 'w' overlap");
        says(
            &|p| p.slots[0].live = (1, 2),
            "node 'k' (rearrange): plan verifier: 'b' of f32 is read at Arena",
        );
        says(
            &|p| p.outputs[0].ty.dtype = DType::I32,
            "is written at Output(0), where there is no such thing",
        );
        let copy = |p: &mut Plan, offset_bytes, live| {
            p.inputs = vec![Port { name: "x".into(), ty: TensorType::new(DType::F32, Shape::of(&[16])) }];
            p.slots[0].live = live;
            p.copied = vec![Copied { input: 0, offset_bytes }];
        };
        says(&|p| copy(p, 0, (0, 0)), "input 0 is copied to byte 0, where it has no room");
        says(&|p| copy(p, 64, (1, 1)), "input 0 is copied to byte 64, where it has no room");
        says(
            &|p| p.copied = vec![Copied { input: 1, offset_bytes: 64 }],
            "input 1 is copied, which does not",
        );
        says(&|p| p.kernels[0].loops.truncate(1), "has not one stride per loop");
        says(&|p| p.kernels[0].shared = Some(Shared { along: LoopId(7), step: 1 }), "loop 7 does not exist");
        says(&|p| p.kernels[0].provider = Provider::Plain, "Plain makes another kind of schedule");
        let nest = |change: &dyn Fn(&mut Nest), message: &str| {
            let change = |p: &mut Plan| {
                let Schedule::Nest(nest) = &mut p.kernels[0].schedule else { panic!("a nest") };
                change(nest);
            };
            says(&change, message);
        };
        nest(&|n| n.order.push(LoopId(1)), "does not name every loop once");
        nest(
            &|n| (n.order[0], n.vector) = (LoopId(1), LoopId(0)),
            "'b' has a stride of 8 in 'r', [1] promised",
        );
        nest(&|n| n.tile = Some((LoopId(1), 2)), "accumulators lie along another loop");
        nest(&|n| n.unrolled = vec![LoopId(0)], "needs a Reduce loop, which 'r' is not");
    }

    /// A sum of 8 products for each of two rows.
    fn sums() -> Plan {
        let mut plan = plan();
        let kernel = &mut plan.kernels[0];
        kernel.loops[1].role = Role::Reduce;
        let at = |offset_bytes| Storage::Arena { offset_bytes };
        kernel.form = Form::Contract {
            acc: DType::F32,
            lhs: access(at(64), &[8, 1]),
            rhs: access(Storage::Weights { offset_bytes: 0 }, &[0, 1]),
            store: Store { to: access(Storage::Output(0), &[1, 0]), value: Expr::Acc },
        };
        kernel.schedule = Schedule::Dots(Dots {
            outer: vec![],
            row: Some((LoopId(0), 2)),
            col: None,
            depth: vec![],
            lane: LoopId(1),
            vectors: 1,
        });
        plan
    }

    #[test]
    fn dot_products_are_of_contiguous_operands() {
        verify_plan(&sums()).unwrap();
        let says = |change: &dyn Fn(&mut Dots), message: &str| {
            let mut plan = sums();
            let Schedule::Dots(dots) = &mut plan.kernels[0].schedule else { panic!("dots") };
            change(dots);
            let error = verify_plan(&plan).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        says(&|d| d.row = None, "does not name every loop once");
        says(
            &|d| (d.row, d.lane) = (Some((LoopId(1), 1)), LoopId(0)),
            "needs a Parallel loop, which 'c' is not",
        );
        says(&|d| d.vectors = 0, "a tile of no products");
        says(&|d| d.row = Some((LoopId(0), 0)), "a tile of no products");
        says(&|d| (d.col, d.row) = (d.row, None), "'b' has a stride of 8 in 'r', [0] promised");
        let mut plan = sums();
        let Form::Contract { rhs, .. } = &mut plan.kernels[0].form else { panic!("a product") };
        rhs.strides[1] = Dim::Const(2);
        let error = verify_plan(&plan).unwrap_err().to_string();
        assert!(error.contains("'b' has a stride of 2 in 'c', [1] promised"), "{error}");
    }
}
