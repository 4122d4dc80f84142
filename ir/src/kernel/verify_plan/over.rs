//! Slots that begin in the storage of another: the kernel in between reads each element of the one for nothing but the
//! element of the other that it writes there.

use super::super::form::Form;
use super::super::plan::{FlatAccess, Plan, PlannedKernel, Schedule, Slot, Storage};
use super::super::regions::Step;
use crate::error::{Error, Result};

/// Checks every slot that is over another.
pub(super) fn slots(plan: &Plan) -> Result<()> {
    plan.slots.iter().try_for_each(|slot| match &slot.over {
        None => Ok(()),
        Some(operand) => match fault(plan, slot, operand) {
            None => Ok(()),
            Some(why) => Err(Error::internal(format!("'{}' lies over '{operand}': {why}", slot.name))),
        },
    })
}

/// Why one slot may not be over another.
fn fault(plan: &Plan, slot: &Slot, operand: &str) -> Option<String> {
    let (position, offset_bytes) = (slot.live.0, slot.offset_bytes);
    let ends = |s: &&Slot| {
        let same = s.name == *operand && s.offset_bytes == offset_bytes && s.bytes == slot.bytes;
        same && s.live.0 < position && s.live.1 == position
    };
    let Some(below) = plan.slots.iter().find(ends) else {
        return Some("no slot of that name, place and size ends as it begins".to_owned());
    };
    let Some(kernel) = plan.kernels.get(position) else {
        return Some(format!("there is no kernel {position}"));
    };
    let here = Storage::Arena { offset_bytes };
    if let Some(why) = reads_elsewhere(kernel, here) {
        return Some(format!("'{}' {why}", kernel.name));
    }
    // Nothing finds it again: neither a turn of a loop around, nor what steers one, nor who asks for a size.
    let region = plan.region_of(position);
    let touches =
        |i: usize| plan.kernels.get(i).is_some_and(|k| accesses(&k.form).iter().any(|a| a.storage == here));
    if (below.live.0..position).any(|i| touches(i) && plan.region_of(i) != region) {
        return Some("it is touched in another region".to_owned());
    }
    let lives = below.live.0..=slot.live.1;
    let counts = plan.counted.iter().any(|c| c.offset_bytes == offset_bytes && lives.contains(&c.after));
    if counts || plan.steps().iter().any(|step| steers(plan, step, here, (below.live.0, slot.live.1))) {
        return Some("there lies what steers a region or tells a size".to_owned());
    }
    None
}

/// What keeps a kernel from writing its result over what it reads of a storage.
fn reads_elsewhere(kernel: &PlannedKernel, here: Storage) -> Option<String> {
    if matches!(kernel.form, Form::Rearrange { .. } | Form::Procedure(_)) {
        return Some("is none that computes element by element".to_owned());
    }
    if matches!(kernel.schedule, Schedule::Sparse(_) | Schedule::Stream(_)) {
        return Some("computes elements twice, or keeps sums in its result".to_owned());
    }
    let [store] = kernel.form.parts().stores else { return Some("has not one result".to_owned()) };
    if store.to.storage != here || !store.to.gathers.is_empty() {
        return Some("writes somewhere else".to_owned());
    }
    let same = |load: &FlatAccess| {
        let lies = load.offset == store.to.offset && load.strides == store.to.strides;
        let kept = load.guards == store.to.guards && load.gathers.is_empty();
        lies && kept && load.dtype.size() == store.to.dtype.size()
    };
    let mut inside = 0;
    store.value.for_each_access(&mut |load| inside += usize::from(load.storage == here && same(load)));
    let all = accesses(&kernel.form).into_iter().filter(|a| a.storage == here).count();
    // All accesses but the store's.
    (inside + 1 != all || inside == 0)
        .then(|| "does not read each element where it writes it, and only there".to_owned())
}

/// Every access of a form, those of indices included.
fn accesses(form: &Form<FlatAccess>) -> Vec<&FlatAccess> {
    fn add<'a>(list: &mut Vec<&'a FlatAccess>, access: &'a FlatAccess) {
        list.push(access);
        access.gathers.iter().for_each(|g| add(list, &g.index));
    }
    let mut list = Vec::new();
    form.loads().into_iter().chain(form.stores()).for_each(|a| add(&mut list, a));
    list
}

/// Whether a region that runs between two kernels is steered by what lies there.
fn steers(plan: &Plan, step: &Step, here: Storage, (first, last): (usize, usize)) -> bool {
    let Step::Region(id, inner) = step else { return false };
    let meets = step.first() <= last && first <= step.last();
    let cells = plan.regions[id.0 as usize].control.cells();
    meets && cells.into_iter().any(|cell| cell.storage == here)
        || inner.iter().any(|step| steers(plan, step, here, (first, last)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::access::LoopId;
    use super::super::super::expr::Expr;
    use super::super::super::form::{Loop, Role};
    use super::super::super::function::BinaryOp;
    use super::super::super::plan::Provider;
    use super::super::super::regions::{Control, Region, RegionId};
    use super::super::super::store::Store;
    use super::*;
    use crate::dim::Dim;
    use crate::types::DType;

    fn at(offset_bytes: usize, offset: i64, strides: &[i64]) -> FlatAccess {
        FlatAccess {
            name: "b".into(),
            storage: Storage::Arena { offset_bytes },
            dtype: DType::F32,
            offset: Dim::Const(offset),
            strides: strides.iter().copied().map(Dim::Const).collect(),
            gathers: vec![],
            guards: vec![],
            otherwise: None,
        }
    }

    fn map(name: &str, to: FlatAccess, value: Expr<FlatAccess>) -> PlannedKernel {
        PlannedKernel {
            name: name.into(),
            nodes: vec![],
            loops: vec![Loop { name: "i".into(), extent: Dim::Const(16), role: Role::Parallel }],
            form: Form::Map { stores: vec![Store { to, value }] },
            schedule: Schedule::Scalar { order: vec![LoopId(0)] },
            provider: Provider::Plain,
            shared: None,
            why: String::new(),
            grain: None,
            bounds: Arc::default(),
        }
    }

    fn sum(a: FlatAccess, b: FlatAccess) -> Expr<FlatAccess> {
        Expr::Binary(BinaryOp::Add, Box::new(Expr::Load(a)), Box::new(Expr::Load(b)))
    }

    /// `u = t + t`, `u` over `t`; then `u` is read.
    fn plan() -> Plan {
        let t = |offset| at(0, offset, &[1]);
        let slot = |name: &str, offset_bytes, live, over: Option<&str>| Slot {
            name: name.into(),
            offset_bytes,
            bytes: 64,
            live,
            over: over.map(str::to_owned),
        };
        Plan {
            arena_bytes: 128,
            arena_align: 64,
            slots: vec![
                slot("t", 0, (0, 1), None),
                slot("u", 0, (1, 2), Some("t")),
                slot("v", 64, (0, 2), None),
            ],
            kernels: vec![
                map("first", t(0), Expr::Load(at(64, 0, &[1]))),
                map("over", t(0), sum(t(0), t(0))),
                map("last", at(64, 0, &[1]), Expr::Load(t(0))),
            ],
            ..Plan::default()
        }
    }

    #[test]
    fn a_result_lies_over_what_is_read_where_it_is_written() {
        super::slots(&plan()).unwrap();
        let says = |change: &dyn Fn(&mut Plan), message: &str| {
            let mut plan = plan();
            change(&mut plan);
            let error = super::slots(&plan).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        let value = |plan: &mut Plan, value| {
            let Form::Map { stores } = &mut plan.kernels[1].form else { panic!("a map") };
            stores[0].value = value;
        };
        let elsewhere = "'over' does not read each element where it writes it, and only there";
        says(&|p| value(p, sum(at(0, 0, &[1]), at(0, 15, &[-1]))), elsewhere);
        says(&|p| value(p, Expr::Load(at(0, 0, &[0]))), elsewhere);
        says(&|p| value(p, Expr::Load(at(64, 0, &[1]))), elsewhere);
        let ends = "no slot of that name, place and size ends as it begins";
        says(&|p| p.slots[0].live.1 = 2, ends);
        says(&|p| p.slots[0].bytes = 128, ends);
        says(&|p| p.slots[1].over = Some("v".into()), ends);
        says(
            &|p| {
                let Form::Map { stores } = &mut p.kernels[1].form else { panic!("a map") };
                stores.push(Store { to: at(64, 0, &[1]), value: Expr::Load(at(0, 0, &[1])) });
            },
            "'over' has not one result",
        );
        says(
            &|p| p.kernels[1].form = Form::Rearrange { from: at(0, 0, &[1]), to: at(0, 0, &[1]) },
            "'over' is none that computes element by element",
        );
        let within = |p: &mut Plan, within: [bool; 3], steered: usize| {
            let condition = FlatAccess { dtype: DType::Bool, ..at(steered, 0, &[]) };
            p.regions = vec![Region { parent: None, control: Control::When { condition, is: true } }];
            p.within = within.map(|inside| inside.then_some(RegionId(0))).to_vec();
        };
        let mut all = plan();
        within(&mut all, [true; 3], 64);
        super::slots(&all).unwrap();
        says(&|p| within(p, [false, true, true], 64), "it is touched in another region");
        says(&|p| within(p, [true; 3], 0), "there lies what steers a region or tells a size");
    }
}
