//! Convolutions of a step of more than one element: the image is taken apart first, so that neighbours lie side by side.
//!
//! ```text
//!   x  0 1 2 3 4 5 6 ..       a step of 2: phase 0 holds elements 0, 2, 4, .., phase 1 elements 1, 3, 5, ..
//!      ^   ^   ^              tap k = 2 a + p of result i reads element i + a of phase p
//! ```
//!
//! A window of 3 becomes one of 2 x 2 (whole steps and phases) whose fourth weight is 0, which blocks leave out.
//!
//! Bytes are copied whatever the step: four channels of a pixel then lie together, and what is around the image is there.

use kiln_ir::kernel::{
    Access, Affine, BufferId, BufferKind, Form, Index, Kernel, Loop, LoopId, Program, Role, Scalar,
};
use kiln_ir::{Dim, Error, Result, Shape, Tensor, TensorType};

use super::layer::{FOUR, Layer};

/// One axis: phases, whole steps of the window and how far they are apart, elements of a phase.
#[derive(Clone, Copy)]
struct Axis {
    phases: i64,
    steps: i64,
    dilation: i64,
    extent: i64,
}

fn axes(layer: &Layer) -> [Axis; 2] {
    [0, 1].map(|i| {
        let (step, window) = (layer.step[i], layer.window[i]);
        let steps = (window + step - 1) / step;
        // Windows of steps of more than one element have no dilation.
        let dilation = if step == 1 { layer.dilation[i] } else { 1 };
        Axis { phases: step.min(window), steps, dilation, extent: layer.size[i] + dilation * (steps - 1) }
    })
}

/// Elements that are copied.
pub(super) fn elements(layer: &Layer) -> i64 {
    let [h, w] = axes(layer);
    layer.images * layer.channels * h.phases * w.phases * h.extent * w.extent
}

/// The kernels for the place of kernel `i`, and the new weights.
pub(super) fn rewrite(program: &mut Program, i: usize, layer: &Layer) -> Result<(Vec<Kernel>, BufferId)> {
    let mut kernel = program.kernel(i).clone();
    let [h, w] = axes(layer);
    let together = if layer.bytes { FOUR } else { 1 };
    let mut shape = vec![layer.channels / together, h.phases, w.phases, h.extent, w.extent];
    shape.extend(layer.bytes.then_some(FOUR));
    let dtype = program.buffer(layer.lhs.buffer).ty.dtype;
    let batch = || [layer.batch.clone()].into_iter();
    let ty = TensorType::new(dtype, Shape(batch().chain(shape.into_iter().map(Dim::Const)).collect()));
    let name = program.buffer(layer.lhs.buffer).name.clone();
    let apart = program.add_buffer(&format!("{name}.phases"), ty, BufferKind::Temp);
    let weights = taken_apart(program, layer)?;

    let [n, c, u, v, j] = [0, 1, 2, 3, 4].map(LoopId);
    let extents = [layer.channels / together, h.extent, w.extent, FOUR].map(Dim::Const);
    let extents = batch().chain(extents).take(if layer.bytes { 5 } else { 4 });
    let loops = ["n", "c", "u", "v", "j"].iter().zip(extents).map(|(name, extent)| Loop {
        name: (*name).to_owned(),
        extent,
        role: Role::Parallel,
    });
    let loops: Vec<Loop> = loops.collect();
    let offset = |axis: usize| layer.lhs.index[axis].affine().map_or(Dim::Const(0), |a| a.offset.clone());
    let first = match layer.lhs.index[0].affine().map(|a| a.terms.is_empty()) {
        Some(true) => layer.lhs.index[0].clone(),
        _ => Index::from(n),
    };
    let of = |place: LoopId, phase: i64, axis: usize, step: i64| {
        Index::from(Affine::constant(offset(axis)).plus(place, step).shifted(phase))
    };
    // The last phase may end behind the image even where the window does not.
    let zero = if layer.bytes { Scalar::int(dtype, 0) } else { Scalar::f32(0.0) };
    let otherwise = layer.lhs.otherwise.or((layer.step != [1, 1]).then_some(zero));
    let channel = match layer.bytes {
        true => Affine::constant(0i64).plus(c, FOUR).plus(j, 1i64).into(),
        false => Index::from(c),
    };
    let mut kernels = Vec::new();
    for (p, q) in (0..h.phases).flat_map(|p| (0..w.phases).map(move |q| (p, q))) {
        let index =
            vec![first.clone(), channel.clone(), of(u, p, 2, layer.step[0]), of(v, q, 3, layer.step[1])];
        let from = Access { buffer: layer.lhs.buffer, index, otherwise };
        let phase = |phase: i64| Index::from(Affine::constant(phase));
        let mut to = vec![n.into(), c.into(), phase(p), phase(q), u.into(), v.into()];
        to.extend(layer.bytes.then_some(Index::from(j)));
        let to = Access::new(apart, to);
        kernels.push(Kernel {
            name: program.kernel_name(&format!("{}.phases", kernel.name)),
            nodes: kernel.nodes.clone(),
            loops: loops.clone(),
            form: Form::Rearrange { from, to },
        });
    }

    let [o, c, kh, kw] = layer.loops;
    let next = kernel.loops.len() as u16;
    let (p, q) = (LoopId(next), LoopId(next + 1));
    for (l, axis, phase) in [(kh, h, "p"), (kw, w, "q")] {
        kernel.loops[l.0 as usize].extent = Dim::Const(axis.steps);
        kernel.loops.push(Loop {
            name: format!("{}{phase}", kernel.loops[l.0 as usize].name),
            extent: Dim::Const(axis.phases),
            role: Role::Reduce,
        });
    }
    let image = match layer.lhs.index[0].affine() {
        Some(a) if a.terms.is_empty() => Affine::constant(0i64).into(),
        _ => layer.lhs.index[0].clone(),
    };
    let place =
        |out: LoopId, steps: LoopId, axis: Axis| Index::from(Affine::of(out).plus(steps, axis.dilation));
    let [oh, ow] = layer.out;
    let mut pixel = vec![image, c.into(), p.into(), q.into(), place(oh, kh, h), place(ow, kw, w)];
    let mut weight = [o, c, kh, p, kw, q].map(Index::from).to_vec();
    if layer.bytes {
        let j = LoopId(next + 2);
        kernel.loops[c.0 as usize].extent = Dim::Const(layer.channels / FOUR);
        kernel.loops.push(Loop { name: "j".to_owned(), extent: Dim::Const(FOUR), role: Role::Reduce });
        pixel.push(j.into());
        weight.push(j.into());
    }
    if let Form::Contract { lhs, rhs, .. } = &mut kernel.form {
        *lhs = Access::new(apart, pixel);
        *rhs = Access::new(weights, weight);
    }
    kernels.push(kernel);
    Ok((kernels, weights))
}

/// Weights by whole steps and phases of their window.
fn taken_apart(program: &mut Program, layer: &Layer) -> Result<BufferId> {
    let [h, w] = axes(layer);
    let name = program.buffer(layer.weights).name.clone();
    let tensor = program.release(layer.weights)?;
    let size = tensor.dtype.size();
    let mut shape =
        [layer.outputs, layer.channels, h.steps, h.phases, w.steps, w.phases].map(|n| n as usize).to_vec();
    let mut bytes = vec![0; shape.iter().product::<usize>() * size];
    let [kh, kw] = layer.window.map(|n| n as usize);
    let [sh, sw] = layer.step.map(|n| n as usize);
    for (i, value) in tensor.data.chunks_exact(size.max(1)).enumerate() {
        let (channel, y, x) = (i / (kh * kw), i / kw % kh, i % kw);
        let row = (channel * shape[2] + y / sh) * shape[3] + y % sh;
        let at = ((row * shape[4] + x / sw) * shape[5] + x % sw) * size;
        let to = bytes.get_mut(at..at + size);
        to.ok_or_else(|| Error::internal("a tap outside of its window"))?.copy_from_slice(value);
    }
    if layer.bytes {
        let four = FOUR as usize;
        let places: usize = shape[2..].iter().product();
        let from = |to: usize| {
            let (fours, place, j) = (to / four / places, to / four % places, to % four);
            bytes[(fours * four + j) * places + place]
        };
        bytes = (0..bytes.len()).map(from).collect();
        shape[1] /= four;
        shape.push(four);
    }
    let tensor = Tensor::new(tensor.dtype, shape, bytes.into())?;
    Ok(program.add_buffer(&format!("{name}.phases"), tensor.ty(), BufferKind::Const(tensor)))
}
