//! From a program with places to the plan: storage, flat kernels, packed weights, schedules.

mod bytes;
mod near;
mod rows;
mod sparse;

use std::collections::HashMap;
use std::sync::Arc;

use kiln_ir::dim::Symbols;
use kiln_ir::format::packed::{CROSSED, Panels, Steps};
use kiln_ir::kernel::plan::{
    Copied, Counted, FlatAccess, Plan, PlannedKernel, Port, Provider, Schedule, Storage, Weight,
};
use kiln_ir::kernel::{
    Access, Buffer, BufferId, BufferKind, Form, Format, Kept, Kernel, LoopId, Place, Program, Region, Uses,
    each_buffer,
};
use kiln_ir::tensor::{Element, row_major};
use kiln_ir::{Bounds, DType, Dim, Error, Limits, Result, Tensor};
use kiln_targets::Target;
use kiln_targets::simd::{R, Refusal};
use rows::ByDepth;

use crate::codegen;
use crate::flatten::{FlatKernel, cell, flatten, merge_rows};
use crate::memory::{self, Asks};
use crate::read_only::ReadOnly;
use crate::schedule::lanes::{self, Lanes};
use crate::schedule::partition::Part;
use crate::schedule::{self, Choices, Chosen, contract, roles, taps};

/// Builds the plan by the cost model alone. Constants leave the program as they are packed, so that weights are
/// held once.
pub fn build(program: Program, target: &Target) -> Result<Plan> {
    build_with(program, target, &Choices::default(), &Limits::default(), &mut ReadOnly::new(target.align))
}

/// The same with measured choices, for one of several variants, whose read-only data is in one block.
pub fn build_with(
    mut program: Program,
    target: &Target,
    choices: &Choices,
    limits: &Limits,
    read_only: &mut ReadOnly,
) -> Result<Plan> {
    let asks = Asks::of(std::slice::from_ref(target));
    let arena = memory::plan(&program, asks)?;
    memory::check_limit(&program, &arena, limits.max_arena_bytes)?;
    memory::verify(&arena.slots, arena.bytes, target.align)?;
    let port = |id: &BufferId| {
        let buffer = program.buffer(*id);
        Port { name: buffer.name.clone(), ty: buffer.ty.clone() }
    };
    let mut plan = Plan {
        name: program.name.clone(),
        bounds: program.bounds.clone(),
        assumed: program.assumed.clone(),
        inputs: program.inputs.iter().map(port).collect(),
        outputs: program.outputs.iter().map(port).collect(),
        arena_bytes: arena.bytes,
        arena_align: target.align,
        arena_lower_bound_bytes: arena.lower_bound_bytes,
        ..Plan::default()
    };
    for (input, id) in program.inputs.iter().enumerate() {
        if let Some(&offset_bytes) = arena.offsets.get(id) {
            plan.copied.push(Copied { input, offset_bytes });
        }
    }
    // Views count: they read the storage of the constant that they are views of.
    let uses = Uses::of_roots(&program);
    let mut weights = Weights { list: Vec::new(), raw: HashMap::new(), read_only };
    let bounds = Arc::new(program.bounds.clone());
    for i in 0..program.kernels().len() {
        let kernel = program.kernel(i).clone();
        let packable = packable(&program, &kernel);
        let mut storage = |root: BufferId| -> Result<Storage> {
            Ok(match &program.buffer(root).kind {
                BufferKind::Input => Storage::Input(position(&program.inputs, root)?),
                BufferKind::Output => Storage::Output(position(&program.outputs, root)?),
                BufferKind::Temp => Storage::Arena {
                    offset_bytes: *arena.offsets.get(&root).ok_or_else(|| {
                        Error::internal(format!("'{}' has no place in the arena", program.buffer(root).name))
                    })?,
                },
                // The one access to it gets its storage once the panels have a place.
                BufferKind::Const(_) if Some(root) == packable => Storage::Weights { offset_bytes: 0 },
                BufferKind::Const(_) | BufferKind::Released => {
                    weights.raw(root, program.buffer(root), program.constant(root)?)?
                }
            })
        };
        let flat = flatten(&program, &kernel, &bounds, &mut storage)
            .map_err(|e| e.at(&kernel.name, kernel.form.name()))?;
        let (mut flat, skipping) = taps::split(flat);
        // Pieces of an axis have code of their own each.
        let skipping = skipping.filter(|_| !target.least_code);
        let format = packable.and_then(|root| program.buffer(root).format.clone());
        let mut dense_for = None;
        if let (Some(root), Some(Format { kept: Kept::Bcsr(block), why })) = (packable, &format) {
            let Buffer { name, place, .. } = program.buffer(root);
            let elements = laid_out(program.constant(root)?.clone(), place.as_ref())?;
            match sparse::blocks(&flat, *block, why, &elements, target, &|flat, choice| {
                encodes(flat, choice, target)
            }) {
                Ok((flat, data, choice)) => {
                    let storage = weights.add(&format!("{name}.blocks"), data);
                    if uses.readers(root).last() == Some(&i) {
                        program.release(root)?;
                    }
                    plan.kernels.push(settle(with_weights(flat, false, storage), choice, target));
                    continue;
                }
                Err(reason) => dense_for = Some(format!("not in blocks of {block}: {reason}")),
            }
        }
        let by_depth = packable.and_then(|_| ByDepth::new(&flat));
        let lanes = match (&flat.form, packable) {
            (Form::Contract { .. }, None) => lanes::choose(&flat, false, Some(&flat), target),
            (Form::Contract { .. }, Some(_)) => {
                lanes::choose(&flat, true, by_depth.as_ref().map(|b| &b.kernel), target)
            }
            _ => None,
        };
        if lanes == Some(Lanes::Rows) {
            flat = lanes::turned(&flat, packable.is_some());
        }
        let planned = match packable {
            None => {
                let choice = schedule::choose(&flat, target, choices);
                settle(flat, choice, target)
            }
            Some(root) => {
                let last = uses.readers(root).last() == Some(&i);
                let tensor = if last { program.release(root)? } else { program.constant(root)?.clone() };
                let Buffer { name, place, .. } = program.buffer(root);
                let elements = || laid_out(tensor.clone(), place.as_ref());
                let packed = match lanes {
                    Some(Lanes::Depth) => by_column(by_depth, target, &elements()?)
                        .map(|(flat, t, choice)| (flat, weights.add(&format!("{name}.packed"), t), choice)),
                    Some(Lanes::Rows) => Err(String::new()),
                    _ => {
                        let mut flat = flat.clone();
                        let tensor = finite(&mut flat, tensor.clone())?;
                        let skipping = skipping.map(|kernel| with_type_of_weights(kernel, &flat));
                        let elements = || laid_out(tensor.clone(), place.as_ref());
                        let skipped =
                            skipping.and_then(|kernel| pack(&kernel, target, choices, &elements).ok());
                        match skipped.map_or_else(|| pack(&flat, target, choices, &elements), Ok) {
                            Ok((flat, panels, choice)) => {
                                Ok((flat, weights.panels(root, name, panels, elements)?, choice))
                            }
                            Err(reason) => Err(reason),
                        }
                    }
                };
                match packed {
                    Ok((flat, storage, choice)) => settle(with_weights(flat, false, storage), choice, target),
                    Err(reason) => {
                        let turned = lanes == Some(Lanes::Rows);
                        let tensor = if turned { as_f32(elements()?)? } else { elements()? };
                        let flat = with_weights(flat, turned, weights.add(name, tensor));
                        let choice = if turned {
                            schedule::choose(&flat, target, choices)
                        } else {
                            let why = format!("plain loops: {reason}");
                            Chosen { schedule: schedule::plain(&flat), why }
                        };
                        settle(flat, choice, target)
                    }
                }
            }
        };
        let mut planned = planned;
        let note = dense_for.or_else(|| format.map(|format| format.why));
        if let Some(note) = note {
            planned.why = [planned.why.as_str(), &note].join("; ");
        }
        plan.kernels.push(planned);
    }
    for (name, buffer) in &program.counted {
        let writes = |k: &Kernel| k.form.written().contains(buffer);
        let found = program.kernels().iter().position(writes).zip(arena.offsets.get(&program.root(*buffer)));
        let (after, offset_bytes) =
            found.ok_or_else(|| Error::internal(format!("nothing counts the size '{name}'")))?;
        plan.counted.push(Counted { name: name.clone(), offset_bytes: *offset_bytes, after });
    }
    plan.counted.sort_by_key(|c| c.after);
    plan.within = (0..program.kernels().len()).map(|i| program.region_of(i)).collect();
    for region in program.regions() {
        let mut storage = |root: BufferId| -> Result<Storage> {
            Ok(match &program.buffer(root).kind {
                BufferKind::Input => Storage::Input(position(&program.inputs, root)?),
                BufferKind::Output => Storage::Output(position(&program.outputs, root)?),
                // Nothing of a region whose kernels are gone is anywhere.
                BufferKind::Temp => {
                    Storage::Arena { offset_bytes: arena.offsets.get(&root).copied().unwrap_or_default() }
                }
                _ => weights.raw(root, program.buffer(root), program.constant(root)?)?,
            })
        };
        let control = region.control.map(&mut |buffer| cell(&program, *buffer, &mut storage))?;
        plan.regions.push(Region { parent: region.parent, control });
    }
    let at_least: Vec<PlannedKernel>;
    let kernels = if plan.bounds.is_empty() {
        &plan.kernels
    } else {
        let sizes = least(&plan.bounds);
        at_least = plan.kernels.iter().map(|kernel| kernel.at(&sizes)).collect();
        &at_least
    };
    let parts = schedule::partition::choose(kernels, target);
    plan.kernels.iter_mut().zip(parts).for_each(|(kernel, part)| share(kernel, part, target));
    plan.sizes = plan.needed_sizes();
    plan.weights_bytes = weights.read_only.bytes();
    plan.weights = weights.list;
    near::settle(&mut plan.kernels, &plan.weights, target);
    plan.slots = arena.slots;
    Ok(plan)
}

/// A scheduled kernel with the first provider that can make it, its shared loop and its grain. Plain loops can make
/// what no provider makes as it is scheduled; the kernel's `why` tells.
pub(crate) fn settle(flat: FlatKernel, choice: Chosen, target: &Target) -> PlannedKernel {
    let Chosen { schedule, why } = choice;
    let mut kernel = planned(flat, schedule, why);
    match provide(&mut kernel, target) {
        Ok(()) => kernel,
        Err(refusal) => {
            let PlannedKernel { name, nodes, loops, form, why, bounds, .. } = kernel;
            let flat = FlatKernel { name, nodes, loops, form, bounds };
            let schedule = schedule::plain(&flat);
            let mut kernel = planned(flat, schedule, format!("plain loops: {refusal}; refused: {why}"));
            kernel.shared = schedule::shared(&kernel, 0);
            kernel.grain = grain(&kernel);
            kernel
        }
    }
}

/// Whether the target's own encoder, where it has one, makes a kernel as it is scheduled: registers may be too few.
fn encodes(flat: &FlatKernel, choice: &Chosen, target: &Target) -> Result<(), String> {
    let mut tentative = planned(flat.clone(), choice.schedule.clone(), String::new());
    provide(&mut tentative, target).map_err(|refusal| refusal.to_string())?;
    match tentative.provider {
        Provider::Portable { .. } if target.encoder => Err(Refusal::OutOfRegisters.to_string()),
        _ => Ok(()),
    }
}

/// Lets threads share the loop that suits the kernels around, unless its provider has too few registers for that.
fn share(kernel: &mut PlannedKernel, part: Part, target: &Target) {
    if part.shared != kernel.shared {
        let before = std::mem::replace(&mut kernel.shared, part.shared);
        if codegen::check(kernel, target).is_err() {
            kernel.shared = before;
            return;
        }
    }
    kernel.grain = part.grain.map(|grain| piece(kernel, grain));
}

/// A dimension whose typical size is more than so many times its least is seldom least.
const SELDOM: i64 = 8;

/// The sizes for which it is decided what threads share: the least, since where these are enough to go round, greater ones are,
/// while a batch that is shared leaves threads idle when it is 1. What is seldom least, such as a sequence, is typical.
fn least(bounds: &Bounds) -> Symbols {
    let size = |bound: &kiln_ir::dim::Bound| match bound.typical > SELDOM * bound.lo.max(1) {
        true => bound.typical,
        false => bound.lo.max(1),
    };
    bounds.iter().map(|(name, bound)| (name.clone(), size(bound))).collect()
}

/// The grain of a kernel that is worth sharing when its open dimensions are least.
fn grain(kernel: &PlannedKernel) -> Option<Dim> {
    let grain = schedule::grain::grain(&kernel.at(&least(&kernel.bounds)))?;
    Some(piece(kernel, grain))
}

/// Steps that a thread takes at a time: so many when open dimensions are least, but of an open loop those that make equal parts
/// of the steps that a run has.
fn piece(kernel: &PlannedKernel, grain: u32) -> Dim {
    match kernel.step_count() {
        Some(steps) if steps.as_const().is_none() => {
            schedule::grain::of_open(&steps, &kernel.at(&least(&kernel.bounds)))
        }
        _ => Dim::from(i64::from(grain)),
    }
}

/// A kernel without provider and shared loop.
fn planned(flat: FlatKernel, schedule: Schedule, why: String) -> PlannedKernel {
    let FlatKernel { name, nodes, loops, form, bounds } = flat;
    let provider = Provider::Plain;
    PlannedKernel { name, nodes, loops, form, schedule, provider, shared: None, why, grain: None, bounds }
}

/// Chooses provider, shared loop and grain; the refusal of the last provider when none can make the kernel.
fn provide(kernel: &mut PlannedKernel, target: &Target) -> R {
    kernel.check_open().map_err(Refusal::unsupported)?;
    let mut refused = None;
    for provider in schedule::providers(&kernel.schedule, target) {
        kernel.provider = provider;
        kernel.shared = schedule::shared(kernel, provider.vector_bytes() / 4);
        match (codegen::check(kernel, target), &refused) {
            (Ok(()), None) => {}
            (Ok(()), Some(refusal)) => {
                let bits = [8 * provider.vector_bytes() as usize, 8 * target.vector_bytes];
                let narrow = format!("{} of {} bits by Cranelift: {refusal}", bits[0], bits[1]);
                kernel.why = [kernel.why.as_str(), &narrow].join("; ");
            }
            (Err(refusal), _) => {
                refused = Some(refusal);
                continue;
            }
        }
        kernel.grain = grain(kernel);
        return Ok(());
    }
    Err(refused.unwrap_or_else(|| Refusal::unsupported("no provider")))
}

fn position(list: &[BufferId], id: BufferId) -> Result<usize> {
    list.iter()
        .position(|b| *b == id)
        .ok_or_else(|| Error::internal("an argument is missing from the program's list"))
}

/// The constant that the right operand of a contraction is, or is a view of; read nowhere else in the kernel, by
/// itself or through a view.
fn packable(program: &Program, kernel: &Kernel) -> Option<BufferId> {
    let Form::Contract { rhs, .. } = &kernel.form else { return None };
    let root = program.root(rhs.buffer);
    let plain = |a: &Access| a.otherwise.is_none() && a.index.iter().all(|i| i.affine().is_some());
    let factor = |ty: DType| matches!(ty, DType::I8 | DType::I16) || roles::is_sum(ty.accumulator());
    let constant = matches!(&program.buffer(root).kind, BufferKind::Const(t) if factor(t.dtype));
    let mut reads = 0;
    for access in kernel.form.loads().into_iter().chain(kernel.form.stores()) {
        each_buffer(access, &mut |b| reads += usize::from(program.root(b) == root));
    }
    (constant && reads == 1 && plain(rhs)).then_some(root)
}

/// The kernel with the storage of its weights: rhs, unless the operands are exchanged.
fn with_weights(mut flat: FlatKernel, turned: bool, storage: Storage) -> FlatKernel {
    if let Form::Contract { lhs, rhs, .. } = &mut flat.form {
        let weights = if turned { lhs } else { rhs };
        weights.storage = storage;
    }
    flat
}

/// A kernel that reads its weights as the same type as another.
fn with_type_of_weights(mut kernel: FlatKernel, other: &FlatKernel) -> FlatKernel {
    if let (Form::Contract { rhs, .. }, Form::Contract { rhs: weights, .. }) = (&mut kernel.form, &other.form)
    {
        rhs.dtype = weights.dtype;
    }
    kernel
}

/// Lays weights out column by column for dot products: as [`pack`].
fn by_column(
    by_depth: Option<ByDepth>,
    target: &Target,
    tensor: &Tensor,
) -> Result<(FlatKernel, Tensor, Chosen), String> {
    let by_depth = by_depth.ok_or_else(|| "an extent is open".to_owned())?;
    let choice = schedule::dots::choose(&by_depth.kernel, target)?;
    let elements = encode(&by_depth.panels, tensor).map_err(|e| e.message)?;
    Ok((by_depth.kernel, elements, choice))
}

/// The panels of the tile that the kernel will use: the kernel whose `rhs` is the access to them, the panels, the tile.
fn pack(
    flat: &FlatKernel,
    target: &Target,
    choices: &Choices,
    elements: &dyn Fn() -> Result<Tensor>,
) -> Result<(FlatKernel, Panels, Chosen), String> {
    let roles = roles::roles(flat, true)?;
    let Form::Contract { rhs, .. } = &flat.form else { return Err("no contraction".to_owned()) };
    let size = |l: &LoopId| -> Option<(usize, isize)> {
        let stride = schedule::stride_of(rhs, *l)?;
        Some((flat.loops[l.0 as usize].extent.as_usize()?, stride as isize))
    };
    let open = || "an extent is open".to_owned();
    let list = |loops: &[LoopId]| loops.iter().map(size).collect::<Option<Vec<_>>>().ok_or_else(open);
    let mut panels = Panels {
        offset: rhs.offset.as_usize().ok_or_else(open)?,
        batch: list(&roles.batch)?,
        depth: list(&roles.depth)?,
        cols: size(&roles.col).ok_or_else(open)?,
        nr: 1,
        steps: Steps::Single,
    };
    panels.steps = bytes::steps(flat, target, &panels, elements);
    // Loops merge by the strides of the packed form, whose order is ours to choose; any panel width gives the
    // same answer.
    let mut packed = flat.clone();
    set_panel_strides(&mut packed, &roles, &panels);
    merge_rows(&mut packed);
    if panels.steps != Steps::Single {
        bytes::cut(&mut packed, panels.steps)?;
    }
    let merged = roles::roles(&packed, true)?;
    let pick = contract::pick(&packed, target, Some(panels.steps), choices)?;
    let width = pick.vectors as usize * contract::lanes(&packed, target) as usize;
    panels.nr = match panels.steps {
        Steps::Crossed => CROSSED,
        _ => target.shared_panel.map_or(width, |panel| panel as usize),
    };
    set_panel_strides(&mut packed, &merged, &panels);
    let choice = contract::choose(&packed, target, Some((panels.nr, panels.steps)), choices)?;
    // Weights in panels are of use to tiles alone.
    let mut tentative = planned(packed.clone(), choice.schedule.clone(), String::new());
    provide(&mut tentative, target).map_err(|refusal| refusal.to_string())?;
    Ok((packed, panels, choice))
}

/// Weights of 16 bits that are not all finite become f32, in the kernel too: tiles convert numbers that are finite, which
/// takes less.
fn finite(flat: &mut FlatKernel, tensor: Tensor) -> Result<Tensor> {
    let Form::Contract { rhs, .. } = &mut flat.form else { return Ok(tensor) };
    if !rhs.dtype.is_short_float() {
        return Ok(tensor);
    }
    let wide = as_f32(tensor.clone())?;
    if wide.as_slice::<f32>()?.iter().all(|v| v.is_finite()) {
        return Ok(tensor);
    }
    rhs.dtype = DType::F32;
    Ok(wide)
}

/// Floats of 16 bits as f32.
fn as_f32(tensor: Tensor) -> Result<Tensor> {
    if !tensor.dtype.is_short_float() {
        return Ok(tensor);
    }
    let values = tensor.to_f64s()?.into_iter().map(|v| v as f32).collect();
    Ok(Tensor::from_vec::<f32>(&tensor.shape, values))
}

/// The elements in panels: of any type that is summed, whose bits are moved.
fn encode(panels: &Panels, tensor: &Tensor) -> Result<Tensor> {
    let bits = |dtype| Tensor { dtype, ..tensor.clone() };
    let elements = match tensor.dtype.size() {
        1 => {
            let mut packed = panels.encode(&bits(DType::U8).as_slice::<u8>()?)?;
            panels.watch(&mut packed);
            of_bits(packed)
        }
        2 => of_bits(panels.encode(&bits(DType::U16).as_slice::<u16>()?)?),
        4 => of_bits(panels.encode(&bits(DType::U32).as_slice::<u32>()?)?),
        8 => of_bits(panels.encode(&bits(DType::U64).as_slice::<u64>()?)?),
        _ => return Err(Error::internal(format!("panels of {}", tensor.dtype))),
    };
    Ok(Tensor { dtype: tensor.dtype, ..elements })
}

fn of_bits<T: Element>(elements: Vec<T>) -> Tensor {
    Tensor::from_vec(&[elements.len()], elements)
}

/// Strides of rhs as [`Panels`] lays it out: depth innermost, then panels, then batches.
pub(crate) fn set_panel_strides(flat: &mut FlatKernel, roles: &roles::Roles, panels: &Panels) {
    let extent = |l: &LoopId| flat.loops[l.0 as usize].extent.clone();
    let mut strides = vec![Dim::Const(0); flat.loops.len()];
    let mut depth = &roles.depth[..];
    let mut stride = Dim::from(panels.steps.place(panels.steps.of_depth(), 0, panels.nr));
    // The fours within a run that is watched.
    if let (Steps::Watched(_), Some(_), [outer @ .., fours]) = (panels.steps, roles.quad, depth) {
        strides[fours.0 as usize] = Dim::from(panels.steps.place(4, 0, panels.nr));
        depth = outer;
    }
    for l in depth.iter().rev() {
        strides[l.0 as usize] = stride.clone();
        stride = stride * extent(l);
    }
    stride = Dim::from(panels.panels() * panels.panel_stride());
    for l in roles.batch.iter().rev() {
        strides[l.0 as usize] = stride.clone();
        stride = stride * extent(l);
    }
    strides[roles.col.0 as usize] = Dim::from(panels.steps.place(0, 1, panels.nr));
    for (l, k) in roles.quad.into_iter().flatten().chain(roles.eight).zip([1, 2, 4]) {
        strides[l.0 as usize] = Dim::from(panels.steps.place(k, 0, panels.nr));
    }
    if let Form::Contract { rhs, .. } = &mut flat.form {
        *rhs = FlatAccess { offset: Dim::Const(0), strides, ..rhs.clone() };
    }
}

/// A constant's elements in the order of its place; the bytes are shared when that is the order they have.
fn laid_out(tensor: Tensor, place: Option<&Place>) -> Result<Tensor> {
    let dense: Vec<usize> = row_major(&tensor.shape);
    let strides = place.and_then(|p| p.strides.iter().map(Dim::as_usize).collect::<Option<Vec<_>>>());
    let Some(strides) = strides.filter(|s| (0..s.len()).any(|i| tensor.shape[i] > 1 && s[i] != dense[i]))
    else {
        return Ok(tensor);
    };
    let size = tensor.dtype.size();
    if size == 0 {
        return Err(Error::unsupported(format!(
            "constants of type {} cannot be brought into another layout",
            tensor.dtype
        )));
    }
    let mut bytes = vec![0; tensor.data.len()];
    for (i, element) in tensor.data.chunks_exact(size).enumerate() {
        let mut at = 0;
        for axis in 0..dense.len() {
            at += i / dense[axis] % tensor.shape[axis] * strides[axis];
        }
        bytes[at * size..][..size].copy_from_slice(element);
    }
    Tensor::new(tensor.dtype, tensor.shape.clone(), bytes.into())
}

/// What the plan reads of the read-only data.
struct Weights<'a> {
    list: Vec<Weight>,
    raw: HashMap<BufferId, Storage>,
    read_only: &'a mut ReadOnly,
}

impl Weights<'_> {
    /// A constant as it is, once however often it is read.
    fn raw(&mut self, id: BufferId, buffer: &Buffer, tensor: &Tensor) -> Result<Storage> {
        if let Some(storage) = self.raw.get(&id) {
            return Ok(*storage);
        }
        let storage = self.add(&buffer.name, laid_out(tensor.clone(), buffer.place.as_ref())?);
        self.raw.insert(id, storage);
        Ok(storage)
    }

    /// A constant in panels, which the plans of all variants share.
    fn panels(
        &mut self,
        id: BufferId,
        name: &str,
        panels: Panels,
        tensor: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Storage> {
        let weight = self
            .read_only
            .packed(id, panels, |panels| Ok((format!("{name}.packed"), encode(panels, &tensor()?)?)))?;
        let offset_bytes = weight.offset_bytes;
        self.list.push(weight);
        Ok(Storage::Weights { offset_bytes })
    }

    fn add(&mut self, name: &str, tensor: Tensor) -> Storage {
        let weight = self.read_only.place(name, tensor);
        let offset_bytes = weight.offset_bytes;
        self.list.push(weight);
        Storage::Weights { offset_bytes }
    }
}

#[cfg(test)]
mod tests {
    use kiln_ir::kernel::plan::{Shared, Transpose};
    use kiln_ir::kernel::{BinaryOp, Expr, Loop, Role, Store};

    use super::*;
    use crate::passes::testing::conv_bias_relu;
    use crate::passes::{absorb, layout};

    /// What the plan of a program computes, which must be what the program does.
    fn check(kernels: &str) -> Plan {
        let text = format!(
            "program @m {{
               input %x: f32[3, 2]
               const @c: f32[2, 4] = [0.5, -1.0, 2.0, 3.0, 7.0, 11.0, -13.0, 17.0]
               const @v: f32[2] = [-1.5, 4.0]
               temp %e: f32[3, 2, 4] temp %w: f32[3, 2] temp %r: f32[2, 4]
               output %y: f32[3, 4] output %z: f32[3, 2, 4]
               {kernels}
             }}"
        );
        let mut program = kiln_ir::kernel::parse(&text).unwrap();
        kiln_ir::kernel::verify(&program).unwrap();
        let x = Tensor::from_vec(&[3, 2], vec![1f32, -2.0, 3.0, 0.25, -5.0, 6.0]);
        let expected = kiln_ir::eval::kernel::run(&program, std::slice::from_ref(&x)).unwrap();
        layout::run(&mut program).unwrap();
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "sse2", "").unwrap();
        let plan = build(program, &target).unwrap();
        assert_eq!(kiln_ir::eval::plan::run(&plan, &[x]).unwrap(), expected, "{plan}");
        plan
    }

    const EXPAND: &str = "rearrange \"e\" [i: 3, a: 2, b: 4] { %e[i, a, b] = @c[a, b] }";
    const USE: &str = "map \"z\" [i: 3, a: 2, b: 4] { %z[i, a, b] = neg(%e[i, a, b]) }";

    #[test]
    fn a_packed_constant_is_there_for_the_views_of_it() {
        let product = "contract \"y\" [m: 3, n: 4 | k: 2] { acc: f32 = %x[m, k] * @c[k, n] %y[m, n] = acc }";
        for kernels in [[product, EXPAND, USE].concat(), [EXPAND, product, USE].concat()] {
            let plan = check(&kernels);
            let names: Vec<&str> = plan.weights.iter().map(|w| w.name.as_str()).collect();
            assert_eq!(names, ["c.packed", "c"]);
        }
    }

    #[test]
    fn a_constant_that_is_no_matrix_is_there_for_the_views_of_it() {
        let product = "contract \"y\" [m: 3, n: 4 | k: 2] { acc: f32 = %x[m, k] * @v[k] %y[m, n] = acc }";
        let expand = "rearrange \"w\" [i: 3, a: 2] { %w[i, a] = @v[a] }";
        check(&[product, expand, "map \"z\" [i: 3, a: 2, b: 4] { %z[i, a, b] = neg(%w[i, a]) }"].concat());
    }

    #[test]
    fn a_view_in_the_epilogue_of_the_product_reads_what_is_not_packed() {
        let product = "contract \"y\" [m: 3, n: 4 | k: 2] {
            acc: f32 = %x[m, k] * @c[k, n]
            %y[m, n] = acc + %e[m, 1, n]
        }";
        let plan = check(&[EXPAND, product, USE].concat());
        assert_eq!(plan.weights.len(), 1, "{plan}");
    }

    #[test]
    fn a_view_of_a_constant_is_packed() {
        let turn = "rearrange \"r\" [a: 2, b: 4] { %r[a, b] = @c[a, 3 - b] }";
        let product =
            "contract \"y\" [m: 3, n: 4 | k: 2] { acc: f32 = %x[m, k] * %e[1, k, n] %y[m, n] = acc }";
        let names = |plan: &Plan| plan.weights.iter().map(|w| w.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&check(&[EXPAND, product, USE].concat())), ["c.packed", "c"]);
        let plan = check(&[turn, &product.replace("%e[1, k, n]", "%r[k, n]"), EXPAND, USE].concat());
        assert!(names(&plan).contains(&"c".to_owned()), "{plan}");
    }

    #[test]
    fn what_is_let_go_of_cannot_be_read() {
        let mut program = kiln_ir::kernel::parse("program @m { released %w: f32[2] }").unwrap();
        let w = BufferId(0);
        assert!(program.constant(w).unwrap_err().message.contains("after it was let go of"));
        assert!(program.release(w).is_err());
        program.set_kind(w, BufferKind::Const(Tensor::from_vec(&[2], vec![1f32, 2.0])));
        assert_eq!(program.release(w).unwrap().elements(), 2);
        assert_eq!(program.buffer(w).kind, BufferKind::Released);
    }

    #[test]
    fn a_convolution_becomes_a_tile_over_packed_panels() {
        let mut p = conv_bias_relu(20, 24);
        absorb::run(&mut p);
        layout::run(&mut p).unwrap();
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "sse2", "").unwrap();
        let plan = build(p, &target).unwrap();
        let conv = plan.kernels.iter().find(|k| k.name == "conv").unwrap();
        let Schedule::Tile(tile) = &conv.schedule else { panic!("{}", conv.why) };
        assert!(tile.rhs_padded);
        // kw and c are contiguous in the padded input, so they are one loop of 60 after kh.
        assert_eq!(tile.depth.len(), 2);
        assert_eq!(tile.panel_stride, 180 * i64::from(tile.nr));
        assert_eq!(plan.weights.iter().map(|w| w.name.as_str()).collect::<Vec<_>>(), ["b", "w.packed"]);
    }

    #[test]
    fn sums_over_rows_read_a_run_of_each() {
        let vectors = |level: &str, value: &str| {
            let text = format!(
                "program @m {{
                   input %x: f32[64, 1000] output %y: f32[1000]
                   reduce \"y\" [n: 1000 | k: 64] {{ acc = sum({value}) %y[n] = acc }}
                 }}"
            );
            let mut program = kiln_ir::kernel::parse(&text).unwrap();
            layout::run(&mut program).unwrap();
            let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", level, "").unwrap();
            let plan = build(program, &target).unwrap();
            let Schedule::Nest(nest) = &plan.kernels[0].schedule else { panic!("{plan}") };
            assert!(matches!(plan.kernels[0].provider, Provider::Encoder { .. }), "{plan}");
            nest.vectors
        };
        for (level, most) in [("sse2", 12), ("avx", 12), ("avx2", 12), ("avx512", 8)] {
            assert_eq!(vectors(level, "%x[k, n]"), most, "{level}");
            assert_eq!(vectors(level, "%x[k, n] * %x[k, n]"), most, "{level}");
            // What needs registers itself has fewer sums beside it.
            assert_eq!(vectors(level, "exp(%x[k, n])"), 4, "{level}");
        }
    }

    /// `y[i] = x0[i] + x1[i] + ..`, on vectors.
    fn sum(operands: usize) -> (FlatKernel, Chosen) {
        let access = |storage, dtype| FlatAccess {
            name: "x".to_owned(),
            storage,
            dtype,
            offset: Dim::Const(0),
            strides: vec![Dim::Const(1)],
            gathers: vec![],
            guards: vec![],
            otherwise: None,
        };
        let load = |i| Expr::Load(access(Storage::Input(i), DType::F32));
        let value = (1..operands).fold(load(0), |sum, i| Expr::binary(BinaryOp::Add, sum, load(i)));
        let to = access(Storage::Output(0), DType::F32);
        let flat = FlatKernel {
            name: "sum".to_owned(),
            nodes: vec![],
            loops: vec![Loop { name: "i".to_owned(), extent: Dim::Const(1000), role: Role::Parallel }],
            form: Form::Map { stores: vec![Store { to, value }] },
            bounds: Arc::default(),
        };
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx512", "").unwrap();
        let chosen = schedule::choose(&flat, &target, &Choices::default());
        (flat, chosen)
    }

    #[test]
    fn kernels_that_do_not_fit_the_registers_say_that_they_are_narrower() {
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx512", "").unwrap();
        let (flat, chosen) = sum(9);
        let kernel = settle(flat, chosen, &target);
        assert_eq!(kernel.provider, Provider::Encoder { vector_bytes: 64 });
        assert_eq!((kernel.shared.unwrap().step, kernel.steps()), (32, Some(32)));
        let (flat, chosen) = sum(16);
        let kernel = settle(flat, chosen, &target);
        assert_eq!(kernel.provider, Provider::Portable { vector_bytes: 16 });
        assert_eq!((kernel.shared.unwrap().step, kernel.steps()), (8, Some(125)));
        assert!(
            kernel.why.contains("128 of 512 bits by Cranelift: the kernel needs more registers"),
            "{}",
            kernel.why
        );
    }

    #[test]
    fn what_no_provider_makes_becomes_plain_loops() {
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx2", "").unwrap();
        let (flat, _) = sum(2);
        let blocks = Transpose { outer: vec![], read: LoopId(0), write: LoopId(0) };
        let chosen = Chosen { schedule: Schedule::Transpose(blocks), why: "a mistake".to_owned() };
        let kernel = settle(flat, chosen, &target);
        assert_eq!(
            (kernel.provider, kernel.shared),
            (Provider::Plain, Some(Shared { along: LoopId(0), step: 1 }))
        );
        assert_eq!(kernel.schedule, Schedule::Scalar { order: vec![LoopId(0)] });
        assert_eq!(kernel.why, "plain loops: map as a transpose; refused: a mistake");
    }
}
