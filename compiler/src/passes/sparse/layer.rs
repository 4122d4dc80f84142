//! Contractions that can read their weights in blocks: convolutions of images by constant weights.

use kiln_ir::kernel::{Access, BufferId, BufferKind, Form, Kernel, LoopId, Program, Role, Uses};
use kiln_ir::{DType, Tensor};

/// A convolution.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) weights: BufferId,
    /// Axes of the weights: output channels, input channels, the window's two.
    pub(super) loops: [LoopId; 4],
    /// Along both axes of the image: results.
    pub(super) out: [LoopId; 2],
    /// Elements from a result to the next in what is read.
    pub(super) step: [i64; 2],
    pub(super) lhs: Access,
    pub(super) images: i64,
    pub(super) outputs: i64,
    pub(super) channels: i64,
    pub(super) window: [i64; 2],
    pub(super) size: [i64; 2],
    /// Lines of results and of what is read lie behind each other, without a halo.
    pub(super) merged: bool,
    /// Which weights are zeros: a row per output channel.
    pub(super) zeros: Vec<bool>,
}

impl Layer {
    pub(super) fn of(program: &Program, uses: &Uses, kernel: &Kernel) -> Option<Self> {
        let Form::Contract { acc, lhs, rhs, store } = &kernel.form else { return None };
        let weights = rhs.buffer;
        let BufferKind::Const(tensor) = &program.buffer(weights).kind else { return None };
        let floats = *acc == DType::F32
            && program.buffer(lhs.buffer).ty.dtype == DType::F32
            && tensor.dtype.is_float()
            && tensor.dtype.accumulator() == DType::F32;
        let alone = uses.readers(weights).len() == 1 && program.buffer(weights).format.is_none();
        let zero = lhs.otherwise.is_none_or(|v| v.to_f64() == 0.0);
        if !floats || !alone || !zero || rhs.otherwise.is_some() || lhs.index.len() != 4 {
            return None;
        }
        let role = |l: LoopId| kernel.loop_(l).role;
        let extent = |l: LoopId| kernel.loop_(l).extent.as_const().filter(|n| *n > 0);
        let loops: [LoopId; 4] = rhs.as_loops()?.try_into().ok()?;
        let [o, c, kh, kw] = loops;
        let reduced = kernel.loops_of(Role::Reduce);
        if role(o) != Role::Parallel || reduced.len() != 3 || ![c, kh, kw].iter().all(|l| reduced.contains(l)) {
            return None;
        }
        if lhs.uses(o) || lhs.index[1].affine()?.as_loop() != Some(c) {
            return None;
        }
        let along = |axis: usize, k: LoopId| {
            let index = lhs.index[axis].affine()?;
            let mut others = index.terms.iter().filter(|(l, _)| *l != k);
            let (l, step) = others.next().filter(|_| others.next().is_none())?;
            let step = step.as_const().filter(|s| (1..=8).contains(s))?;
            let dilation = index.coefficient(k).as_const()?;
            index.offset.as_const()?;
            let fits = step == 1 && dilation >= 0 || dilation == 1 || extent(k) == Some(1);
            (role(*l) == Role::Parallel && fits).then_some((*l, step))
        };
        let ((oh, sh), (ow, sw)) = (along(2, kh)?, along(3, kw)?);
        let images = match &lhs.index[0].affine()?.terms[..] {
            [] => 1,
            [(n, _)] => extent(*n)?,
            _ => return None,
        };
        if store.to.index.last()?.affine()?.as_loop() != Some(ow) || kernel.loops_of(Role::Parallel).len() > 4 {
            return None;
        }
        let [window, size] = [[kh, kw], [oh, ow]].map(|pair| pair.map(extent));
        let (window, size) = ([window[0]?, window[1]?], [size[0]?, size[1]?]);
        let padded = |b: BufferId| {
            let reads = |i: &usize| {
                let data = program.kernel(*i).form.data();
                data.is_some_and(|a| a.buffer == b && a.otherwise.is_some())
            };
            uses.readers(b).iter().any(reads)
        };
        let merged = window == [1, 1] && !padded(lhs.buffer) && !padded(store.to.buffer);
        Some(Self {
            weights,
            loops,
            out: [oh, ow],
            step: [sh, sw],
            lhs: lhs.clone(),
            images,
            outputs: extent(o)?,
            channels: extent(c)?,
            window,
            size,
            merged,
            zeros: zeros(tensor)?,
        })
    }

    /// Whether neighbouring results read elements that lie apart.
    pub(super) fn steps_over(&self) -> bool {
        self.step[1] != 1
    }

    /// Columns of the weights.
    pub(super) fn columns(&self) -> usize {
        (self.channels * self.window[0] * self.window[1]) as usize
    }

    /// The part of the weights that are zeros.
    pub(super) fn zeros_part(&self) -> f64 {
        self.zeros.iter().filter(|z| **z).count() as f64 / self.zeros.len().max(1) as f64
    }
}

/// Which elements are zeros, of either sign.
fn zeros(tensor: &Tensor) -> Option<Vec<bool>> {
    Some(match tensor.dtype.size() {
        4 => tensor.as_slice::<f32>().ok()?.iter().map(|v| *v == 0.0).collect(),
        2 => tensor.data.chunks_exact(2).map(|b| b[0] == 0 && b[1] & 0x7f == 0).collect(),
        _ => return None,
    })
}
