//! Which loop each kernel's threads share, or none: so that a thread finds in its own cache what it reads.
//!
//! Two threads have contiguous halves of a kernel's shared loop. A cache line that one of them wrote and the other reads comes
//! from the other core, and one that a thread writes where the other had it last has to be taken from there, which takes as
//! long as hundreds of operations. So loops are chosen together: halves of an image in one kernel and halves of the
//! channels in the next move half of all there is between them. Where all that moves costs more than the second thread
//! saves, the model has one thread.
//!
//! How much moves is counted in samples: for iterations of a kernel, whether the element that they read was written, and
//! the place that they write was used last, by an iteration of the same half; for the first kernels that was in the run
//! before. Two threads stand for any number. Choices start from the kernels' own shared loops and are changed one by one while
//! that makes the sum smaller.

use kiln_ir::kernel::Form;
use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel, Shared, Storage};
use kiln_targets::Target;

use super::grain;
use super::shared::options;

/// Bytes of a cache line.
const LINE: f64 = 64.0;
/// Nanoseconds that a line takes, one among many, which the other core has written: to be read or to be written; and to be
/// written when the other core has read it last, so that it has to give up its copy first. Measured on a Zen 4 between cores
/// of one third-level cache, where they are 1 and 4 to 8, and 0.8 in the own second-level cache.
const TAKE: f64 = 1.0;
const TAKE_BACK: f64 = 6.0;
/// The part of the shorter of computing and moving that does not happen at the same time as the other.
const EXPOSED: f64 = 0.3;
/// Nanoseconds of starting the second thread's part and of waiting for it.
const FORK: f64 = 250.0;
/// Nanoseconds of a byte of weights that both threads read, from the second-level cache and from beyond.
const NEAR_BYTE: f64 = 0.0125;
const FAR_BYTE: f64 = 0.1;
/// Another choice must make a kernel and what it moves cheaper by this part, in one round after the other: what gains most
/// comes first, and others fit themselves to it.
const LEAST_GAINS: [f64; 5] = [0.4, 0.2, 0.1, 0.05, 0.05];
/// Iterations that are looked at for each access.
const SAMPLES: usize = 32;
/// Kernels before one that are looked at for what they did to the same memory.
const MOST_BEFORE: usize = 24;

/// A kernel's shared loop and its grain there; no grain: one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The loop.
    pub shared: Option<Shared>,
    /// Steps that a thread takes at a time.
    pub grain: Option<u32>,
}

/// A choice, and what it means for two threads.
#[derive(Clone, Copy, Debug)]
struct Choice {
    part: Part,
    /// The loop, and its first iteration that is the second thread's.
    second: Option<(usize, i64)>,
    /// Whether the kernel is worth sharing by itself.
    worth: bool,
    /// Nanoseconds that it takes by itself.
    cost: f64,
}

impl Choice {
    /// Whether an iteration is the second thread's; `None` where both have one like it.
    fn thread(&self, iteration: &[i64]) -> Option<bool> {
        let Some((l, from)) = self.second else { return Some(false) };
        (iteration[l] >= 0).then_some(iteration[l] >= from)
    }
}

/// An access to what another kernel may have in the other core.
struct Use {
    /// Cache lines that it touches.
    lines: f64,
    samples: Vec<Sample>,
}

/// An iteration, the kernel that had the same place before, its iteration, and nanoseconds of taking a line from there.
struct Sample {
    now: Vec<i64>,
    before: usize,
    then: Vec<i64>,
    cost: f64,
}

/// Memory that an access touches: bytes of the arena or of a result.
struct Touched<'a> {
    access: &'a FlatAccess,
    space: usize,
    bytes: std::ops::Range<i64>,
    stores: bool,
}

/// What is known of the kernels.
struct Model {
    choices: Vec<Vec<Choice>>,
    uses: Vec<Vec<Use>>,
    /// Kernels that come after a kernel in the same memory.
    after: Vec<Vec<usize>>,
}

/// The part of each kernel.
pub fn choose(kernels: &[PlannedKernel], target: &Target) -> Vec<Part> {
    let model = Model::new(kernels, target);
    let alone: Vec<usize> = model.choices.iter().map(|list| list.len() - 1).collect();
    let own = |list: &Vec<Choice>| list.iter().position(|c| c.worth).unwrap_or(list.len() - 1);
    let shared = model.improved(model.choices.iter().map(own).collect());
    let picks = if model.total(&alone) < model.total(&shared) { alone } else { shared };
    picks.iter().zip(&model.choices).map(|(pick, list)| list[*pick].part).collect()
}

impl Model {
    fn new(kernels: &[PlannedKernel], target: &Target) -> Self {
        let touched: Vec<Vec<Touched<'_>>> = kernels.iter().map(touched).collect();
        let (mut uses, mut after) = (Vec::new(), vec![Vec::new(); kernels.len()]);
        for (i, kernel) in kernels.iter().enumerate() {
            let own =
                touched[i].iter().filter_map(|touch| uses_of(kernels, &touched, i, kernel, touch, target));
            let own: Vec<Use> = own.collect();
            for sample in own.iter().flat_map(|u| &u.samples) {
                if after[sample.before].last() != Some(&i) && sample.before != i {
                    after[sample.before].push(i);
                }
            }
            uses.push(own);
        }
        let choices = kernels.iter().map(|kernel| choices(kernel, target)).collect();
        Self { choices, uses, after }
    }

    /// What a kernel takes from the other thread.
    fn moves(&self, i: usize, picks: &[usize]) -> f64 {
        let choice = |kernel: usize| &self.choices[kernel][picks[kernel]];
        let of = |touch: &Use| {
            let other = |s: &&Sample| choice(i).thread(&s.now) != choice(s.before).thread(&s.then);
            touch.lines * touch.samples.iter().filter(other).map(|s| s.cost).sum::<f64>() / SAMPLES as f64
        };
        self.uses[i].iter().map(of).sum()
    }

    /// Nanoseconds of a kernel: most of what moves does so while it computes, or it computes while that moves.
    fn time(&self, i: usize, picks: &[usize]) -> f64 {
        let (cost, moves) = (self.choices[i][picks[i]].cost, self.moves(i, picks));
        cost.max(moves) + EXPOSED * cost.min(moves)
    }

    /// The times of a kernel and of those to which something moves from it.
    fn around(&self, i: usize, picks: &[usize]) -> f64 {
        self.time(i, picks) + self.after[i].iter().map(|after| self.time(*after, picks)).sum::<f64>()
    }

    fn total(&self, picks: &[usize]) -> f64 {
        (0..picks.len()).map(|i| self.time(i, picks)).sum()
    }

    /// Choices changed one by one while the sum gets smaller.
    fn improved(&self, mut picks: Vec<usize>) -> Vec<usize> {
        for gain in LEAST_GAINS {
            for i in 0..picks.len() {
                // One thread is for kernels that are not worth more, or for all.
                let list = &self.choices[i];
                let worth = list.iter().any(|c| c.worth);
                let (now, mut best) = (picks[i], (self.around(i, &picks) * (1.0 - gain), picks[i]));
                for pick in (0..list.len()).filter(|pick| *pick != now && (!worth || list[*pick].worth)) {
                    picks[i] = pick;
                    let cost = self.around(i, &picks);
                    if cost < best.0 {
                        best = (cost, pick);
                    }
                }
                picks[i] = best.1;
            }
        }
        picks
    }
}

/// What a kernel may do: share its own loop, or another one, or nothing, which is the last.
fn choices(kernel: &PlannedKernel, target: &Target) -> Vec<Choice> {
    let alone = grain::operations(kernel).unwrap_or(0) as f64 / rate(kernel);
    let mut list = Vec::new();
    for shared in options(kernel, kernel.provider.vector_bytes() / 4) {
        let kernel = PlannedKernel { shared: Some(shared), ..kernel.clone() };
        let Some(steps) = kernel.steps().filter(|steps| *steps > 1) else { continue };
        // What is too small to be worth it may still be, where each thread writes what it will read: borders.
        let worth = grain::grain(&kernel);
        let halves = u32::try_from((steps + 1) / 2).ok();
        let Some(grain) = worth.or(halves) else { continue };
        let first = (steps + i64::from(grain) - 1) / i64::from(grain) / 2 * i64::from(grain);
        let larger = first.max(steps - first) as f64 / steps.max(1) as f64;
        list.push(Choice {
            part: Part { shared: Some(shared), grain: Some(grain) },
            second: Some((shared.along.0 as usize, first * i64::from(shared.step))),
            worth: worth.is_some(),
            cost: alone * larger + FORK + twice(&kernel, shared, target),
        });
    }
    let part = Part { shared: kernel.shared, grain: None };
    list.push(Choice { part, second: None, worth: false, cost: alone });
    list
}

/// Operations per nanosecond.
fn rate(kernel: &PlannedKernel) -> f64 {
    let lanes = f64::from(kernel.provider.vector_bytes() / 4);
    match &kernel.form {
        _ if lanes == 0.0 => 1.5,
        Form::Contract { .. } => (12.0 * lanes).min(110.0),
        Form::Window { .. } => (10.0 * lanes).min(70.0),
        // As memory is.
        _ => 40.0,
    }
}

/// What it costs that both threads read weights of which none is for one of them alone.
fn twice(kernel: &PlannedKernel, shared: Shared, target: &Target) -> f64 {
    let both = |a: &&&FlatAccess| {
        matches!(a.storage, Storage::Weights { .. }) && a.strides[shared.along.0 as usize].is(0)
    };
    let cost = |a: &&FlatAccess| {
        let bytes = elements(kernel, a) * a.dtype.size() as f64;
        let far = bytes > target.l2_bytes as f64 / 2.0;
        bytes / 2.0 * if far { FAR_BYTE } else { NEAR_BYTE }
    };
    kernel.form.loads().iter().filter(both).map(cost).sum()
}

/// Elements that an access touches: windows overlap.
fn elements(kernel: &PlannedKernel, access: &FlatAccess) -> f64 {
    let (mut product, mut reach) = (1.0, 1.0);
    for (stride, l) in access.strides.iter().zip(&kernel.loops) {
        if let (Some(stride), Some(extent)) = (stride.as_const().filter(|s| *s != 0), l.extent.as_const()) {
            product *= extent as f64;
            reach += stride.abs() as f64 * (extent - 1).max(0) as f64;
        }
    }
    product.min(reach)
}

/// The memory that a kernel's accesses touch, as far as it is known and written during a run.
fn touched(kernel: &PlannedKernel) -> Vec<Touched<'_>> {
    let loads = kernel.form.loads().into_iter().map(|a| (a, false));
    let stores = kernel.form.stores().into_iter().map(|a| (a, true));
    loads.chain(stores).filter_map(|(access, stores)| touch(kernel, access, stores)).collect()
}

fn touch<'k>(kernel: &PlannedKernel, access: &'k FlatAccess, stores: bool) -> Option<Touched<'k>> {
    let (space, start) = match access.storage {
        Storage::Arena { offset_bytes } => (0, offset_bytes as i64),
        Storage::Output(i) => (1 + i, 0),
        _ => return None,
    };
    let size = access.dtype.size() as i64;
    let (mut low, mut high) = (access.offset.as_const()?, access.offset.as_const()?);
    for (stride, l) in access.strides.iter().zip(&kernel.loops) {
        let reach = stride.as_const()? * (l.extent.as_const()? - 1);
        (low, high) = (low + reach.min(0), high + reach.max(0));
    }
    let bytes = start + low * size..start + (high + 1) * size;
    access.gathers.is_empty().then_some(Touched { access, space, bytes, stores })
}

/// What an access finds where others were before; `None` where it does nothing.
fn uses_of(
    kernels: &[PlannedKernel],
    touched: &[Vec<Touched<'_>>],
    i: usize,
    kernel: &PlannedKernel,
    touch: &Touched<'_>,
    target: &Target,
) -> Option<Use> {
    let extents: Vec<i64> = kernel.loops.iter().map(|l| l.extent.as_const()).collect::<Option<_>>()?;
    if extents.iter().any(|extent| *extent < 1) {
        return None;
    }
    let strides: Vec<i64> = touch.access.strides.iter().map(|s| s.as_const()).collect::<Option<_>>()?;
    let (offset, size) = (touch.access.offset.as_const()?, touch.access.dtype.size() as i64);
    let start = match touch.access.storage {
        Storage::Arena { offset_bytes } => offset_bytes as i64,
        _ => 0,
    };
    // What is written was used in the run before, if not in this one; what is read was written in this one.
    let before =
        (0..i).rev().chain((i..kernels.len()).rev()).take(if touch.stores { kernels.len() } else { i });
    let before: Vec<usize> = before.take(MOST_BEFORE).collect();
    let mut random = 0u64;
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let now: Vec<i64> = extents.iter().map(|extent| next(&mut random) % extent).collect();
        let byte = start + size * (offset + strides.iter().zip(&now).map(|(s, i)| s * i).sum::<i64>());
        let found = before.iter().find_map(|&before| {
            let mut last =
                touched[before].iter().filter(|t| t.space == touch.space && (t.stores || touch.stores));
            let take = |t: &Touched<'_>| if t.stores { TAKE } else { TAKE_BACK };
            last.find_map(|t| Some((before, iteration_of(&kernels[before], t, byte)?, take(t))))
        });
        samples.extend(found.map(|(before, then, cost)| Sample { now, before, then, cost }));
    }
    // What does not fit the cores' caches comes from elsewhere.
    let bytes = (elements(kernel, touch.access) * size as f64).min(4.0 * target.l2_bytes as f64);
    Some(Use { lines: bytes / LINE, samples })
}

/// An iteration that touches a byte, if one does; -1 for loops along which all do.
fn iteration_of(kernel: &PlannedKernel, touch: &Touched<'_>, byte: i64) -> Option<Vec<i64>> {
    if !touch.bytes.contains(&byte) {
        return None;
    }
    // From the lowest byte: all its strides are forward as a rule.
    let strides: Vec<i64> = touch.access.strides.iter().map(|s| s.as_const()).collect::<Option<_>>()?;
    let mut rest = (byte - touch.bytes.start) / touch.access.dtype.size() as i64;
    let mut order: Vec<usize> = (0..strides.len()).filter(|l| strides[*l] > 0).collect();
    order.sort_by_key(|l| std::cmp::Reverse(strides[*l]));
    let mut iteration: Vec<i64> = strides.iter().map(|s| if *s == 0 { -1 } else { 0 }).collect();
    for l in order {
        iteration[l] = (rest / strides[l]).min(kernel.loops[l].extent.as_const()? - 1);
        rest -= iteration[l] * strides[l];
    }
    (rest == 0).then_some(iteration)
}

/// The next of a sequence of numbers without a pattern.
fn next(state: &mut u64) -> i64 {
    *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    (*state >> 33) as i64
}

#[cfg(test)]
mod tests {
    use kiln_ir::kernel;

    use crate::passes::layout;

    /// The shared loops of a plan's kernels by name, those with one thread in brackets.
    fn shared(text: &str) -> Vec<String> {
        let mut program = kernel::parse(text).unwrap();
        layout::run(&mut program).unwrap();
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx2", "").unwrap();
        let plan = crate::planner::build(program, &target).unwrap();
        let name = |k: &kernel::plan::PlannedKernel| {
            let l = k.shared.map_or("", |s| k.loops[s.along.0 as usize].name.as_str());
            if k.grain.is_some() { l.to_owned() } else { format!("({l})") }
        };
        plan.kernels.iter().map(name).collect()
    }

    #[test]
    fn halves_of_what_is_written_are_those_that_are_read() {
        // Looked at alone, the map would share its channels, each thread half of them.
        let text = "program @m {
            input %x: f32[64, 64, 64] input %w: f32[64]
            temp %t: f32[64, 64, 64] output %y: f32[64, 64]
            map \"t\" [c: 64, h: 64, w: 64] { %t[c, h, w] = exp(%x[c, 63 - h, w]) }
            contract \"y\" [h: 64, w: 64 | c: 64] { acc: f32 = %t[c, h, w] * %w[c] %y[h, 63 - w] = acc }
        }";
        assert_eq!(shared(text), ["h", "h"]);
    }
}
