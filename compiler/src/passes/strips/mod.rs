//! Runs of kernels in strips of rows, where the arena is to be smaller.
//!
//! A chain of kernels that makes a few rows at a time of what it ends with keeps a few rows of what is between, and
//! computes those again that two strips read (`cut`). Strips are ordinary kernels over parts of buffers, so all that
//! comes later knows nothing of them; equal ones share their code.
//!
//! Where most is alive, every run of kernels around is weighed in strips of every height: by its parts first, and the best of
//! them by the arena that they have. Of those that come below the limit the one with the least work is taken, else the one with the
//! least memory, and so on where most is alive then. Cuts are of the program as it was, so that a later one may take the place of
//! earlier ones.

mod cut;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use kiln_ir::kernel::{BufferId, BufferKind, Edits, LoopId, Program, Role, Uses};
use kiln_ir::{Error, Result};

use crate::memory::{self, Arena, Asks};
use crate::passes::layout;
use cut::{Cut, Strip};

/// Kernels of a run at most: each window in it makes the rows more that are computed again.
const LONGEST: usize = 8;
/// Strips that are weighed.
const STRIPS: [i64; 13] = [2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64];
/// Candidates of a round of which the arena is planned.
const TRIED: usize = 6;
/// Iterations that calling one more kernel is worth.
const CALL: f64 = 20_000.0;
/// Rounds at most.
const ROUNDS: usize = 200;

/// Cuts the program so that its arena has at most `limit` bytes, or says what the least is that was found.
pub fn run(program: &mut Program, limit: u64, asks: Asks) -> Result<()> {
    let uses = Uses::of(program);
    let mut found = search(program, &uses, (limit, limit), asks)?;
    if found.arena.bytes as u64 > limit {
        // What is least everywhere, whatever work it is: what is told is found by whoever asks for it.
        found = search(program, &uses, (limit, 0), asks)?;
    }
    if found.arena.bytes as u64 > limit {
        return Err(found.refuse(limit));
    }
    if let Some(cut) = found.program {
        *program = cut;
    }
    Ok(())
}

/// The smallest arena on the way to `target`, or the first within `limit`.
fn search(program: &Program, uses: &Uses, (limit, mut target): (u64, u64), asks: Asks) -> Result<State> {
    let mut state = State::of(program, uses, Vec::new(), asks)?;
    let mut best = state.clone();
    for _ in 0..ROUNDS {
        if best.arena.bytes as u64 <= limit {
            break;
        }
        let (kernel, alive) = state.peak();
        if alive as u64 <= target {
            // Below the limit by what is lost between buffers.
            let gaps = (state.arena.bytes - alive) as u64;
            target = limit.saturating_sub(gaps).min(target.saturating_sub(1));
        }
        let Some(next) = state.next(program, uses, kernel, target, asks)? else { break };
        state = next;
        if state.arena.bytes < best.arena.bytes {
            best = state.clone();
        }
    }
    Ok(best)
}

/// A program with some of its runs in strips.
#[derive(Clone)]
struct State {
    cuts: Vec<Cut>,
    /// With the cuts; `None` where there are none.
    program: Option<Program>,
    arena: Arena,
    /// By moment of the arena: the kernel of the program as it was, and what is alive.
    alive: Vec<(usize, usize)>,
}

impl State {
    /// The program with these cuts, laid out.
    fn of(program: &Program, uses: &Uses, cuts: Vec<Cut>, asks: Asks) -> Result<Self> {
        let mut origin: BTreeMap<String, usize> = BTreeMap::new();
        for (i, kernel) in program.kernels().iter().enumerate() {
            origin.insert(kernel.name.clone(), i);
        }
        let mut changed = program.clone();
        let mut edits = Edits::default();
        for cut in &cuts {
            let strips =
                cut::strips(program, uses, cut).ok_or_else(|| Error::internal("a cut that is none"))?;
            let kernels = cut::apply(&mut changed, cut, &strips);
            let run = cut.last - cut.first + 1;
            for (i, kernel) in kernels.iter().enumerate() {
                origin.insert(kernel.name.clone(), cut.first + i % run);
            }
            (cut.first..cut.last).for_each(|k| edits.replace(k, vec![]));
            edits.replace(cut.last, kernels);
        }
        changed.edit(edits);
        let mut laid_out = changed.clone();
        layout::run(&mut laid_out)?;
        let arena = memory::plan(&laid_out, asks)?;
        let mut alive = vec![(usize::MAX, 0); laid_out.kernels().len()];
        for slot in &arena.slots {
            let counts = (slot.live.0..=slot.live.1).filter(|moment| slot.counts_in(*moment));
            counts.for_each(|moment| alive[moment].1 += slot.bytes);
        }
        // Kernels that layout adds stand before the one that they are for.
        let mut next = program.kernels().len().saturating_sub(1);
        for (kernel, moment) in laid_out.kernels().iter().zip(&mut alive).rev() {
            next = origin.get(&kernel.name).copied().unwrap_or(next);
            moment.0 = next;
        }
        let changed = (!cuts.is_empty()).then_some(changed);
        Ok(Self { cuts, program: changed, arena, alive })
    }

    /// Where most is alive, and how much.
    fn peak(&self) -> (usize, usize) {
        self.most(&(0..usize::MAX))
    }

    /// The same among some kernels.
    fn most(&self, kernels: &std::ops::Range<usize>) -> (usize, usize) {
        let among = self.alive.iter().copied().filter(|m| kernels.contains(&m.0));
        among.rev().max_by_key(|m| m.1).unwrap_or((0, 0))
    }

    /// With a run around a kernel in strips, or in others than now, so that less is alive there.
    fn next(
        &self,
        program: &Program,
        uses: &Uses,
        kernel: usize,
        target: u64,
        asks: Asks,
    ) -> Result<Option<Self>> {
        let mut found = candidates(program, uses, kernel);
        let fits = |c: &Candidate| c.bytes as u64 <= target;
        found.sort_by(|a, b| {
            let key = |c: &Candidate| if fits(c) { (0, c.work) } else { (1, c.bytes as f64) };
            key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal)
        });
        let mut best: Option<(usize, Self)> = None;
        for candidate in found.into_iter().take(TRIED) {
            let (mut touched, mut cuts) = (candidate.cut.first..candidate.cut.last + 1, self.cuts.clone());
            cuts.retain(|cut| {
                let apart = cut.last < candidate.cut.first || candidate.cut.last < cut.first;
                if !apart {
                    touched = touched.start.min(cut.first)..touched.end.max(cut.last + 1);
                }
                apart
            });
            let before = self.most(&touched).1;
            cuts.push(candidate.cut);
            cuts.sort_by_key(|cut| cut.first);
            let state = Self::of(program, uses, cuts, asks)?;
            let most = state.most(&touched).1;
            if most < before && best.as_ref().is_none_or(|(least, _)| most < *least) {
                best = Some((most, state));
            }
            if most as u64 <= target && most < before {
                break;
            }
        }
        Ok(best.map(|(_, state)| state))
    }

    /// Why the limit cannot be held.
    fn refuse(&self, limit: u64) -> Error {
        let (least, most) = (self.arena.bytes, self.peak());
        let moment = self.alive.iter().position(|m| *m == most).unwrap_or(0);
        let alive = self.arena.slots.iter().filter(|s| s.counts_in(moment));
        let mut alive: Vec<_> = alive.collect();
        alive.sort_by_key(|slot| Reverse(slot.bytes));
        let named: Vec<_> =
            alive.iter().take(3).map(|s| format!("'{}' of {} bytes", s.name, s.bytes)).collect();
        let text = format!(
            "no plan within {limit} bytes of memory was found: the least is {least}, with {} alive at one time",
            named.join(", ")
        );
        Error::unsupported(text).hint(format!("--arena-limit {least} is possible"))
    }
}

/// A run in strips, as it is weighed.
struct Candidate {
    cut: Cut,
    /// About what is alive at most in it.
    bytes: usize,
    /// Iterations, and what calls are worth.
    work: f64,
}

/// Every way to have a run of kernels around one in strips.
fn candidates(program: &Program, uses: &Uses, kernel: usize) -> Vec<Candidate> {
    let mut found = Vec::new();
    let count = program.kernels().len();
    for first in kernel.saturating_sub(LONGEST - 1)..=kernel {
        for last in kernel.max(first + 1)..count.min(first + LONGEST) {
            let whole = work(program, first, last);
            let around = around(program, uses, first, last);
            for along in program.kernel(last).loops_of(Role::Parallel) {
                found.extend(of_loop(program, uses, (first, last, along), around, whole));
            }
        }
    }
    found
}

/// The strips of a run along a loop, of every height.
fn of_loop(
    program: &Program,
    uses: &Uses,
    (first, last, along): (usize, usize, LoopId),
    around: usize,
    whole: f64,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    let Some(rows) = program.kernel(last).loop_(along).extent.as_const() else { return found };
    for count in STRIPS.into_iter().filter(|n| *n <= rows) {
        let cut = Cut { first, last, along, step: (rows + count - 1) / count };
        let Some(strips) = cut::strips(program, uses, &cut) else { break };
        let work: f64 = strips.iter().map(|s| s.iterations(program, &cut)).sum();
        // What is computed again is most of the work: a loop that leads to no part of what is before.
        if work > 2.0 * whole {
            break;
        }
        let calls = strips.len() * (last - first + 1);
        let bytes = around + strips.iter().map(|s| within(s, program, &cut, uses)).max().unwrap_or(0);
        found.push(Candidate { cut, bytes, work: work - whole + calls as f64 * CALL });
    }
    found
}

/// Iterations of the kernels of a run.
fn work(program: &Program, first: usize, last: usize) -> f64 {
    let of = |k| program.kernel(k).iterations().typical(&program.bounds).unwrap_or(i64::MAX) as f64;
    (first..=last).map(of).sum()
}

/// Bytes of what lives before a run or behind it, and in it.
fn around(program: &Program, uses: &Uses, first: usize, last: usize) -> usize {
    let alive = |buffer: &BufferId| {
        let all = || uses.writers(*buffer).iter().chain(uses.readers(*buffer)).copied();
        let (Some(begin), Some(end)) = (all().min(), all().max()) else { return false };
        let inside = begin >= first && end <= last;
        program.buffer(*buffer).kind == BufferKind::Temp && begin <= last && end >= first && !inside
    };
    program.buffer_ids().filter(alive).map(|b| cut::bytes(&program.buffer(b).ty)).sum()
}

/// The most bytes of parts that are alive at one time in a strip.
fn within(strip: &Strip, program: &Program, cut: &Cut, uses: &Uses) -> usize {
    let parts = strip.parts(program, cut, uses);
    let at =
        |k: usize| parts.iter().filter(|(_, first, last)| (*first..=*last).contains(&k)).map(|p| p.0).sum();
    (0..=cut.last - cut.first).map(at).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Tensor, eval, kernel};

    use super::*;

    const ASKS: Asks = Asks { align: 64, arguments: false };

    /// What a block of a network is: wider, a window, narrower, and the sum with what came in.
    const BLOCK: &str = r#"program @m {
  input %x: f32[1, 4, 20, 6]
  const @e: f32[16, 4, 1, 1] = splat 0.0
  const @d: f32[16, 1, 3, 3] = splat 0.0
  const @p: f32[4, 16, 1, 1] = splat 0.0
  temp %t: f32[1, 4, 20, 6]
  temp %a: f32[1, 16, 20, 6]
  temp %b: f32[1, 16, 20, 6]
  output %y: f32[1, 4, 20, 6]
  map "t" [n: 1, o: 4, h: 20, w: 6] {
    %t[n, o, h, w] = %x[n, o, h, w] * 0.5:f32
  }
  contract "expand" [n: 1, o: 16, h: 20, w: 6 | c: 4, i: 1, j: 1] {
    acc: f32 = %t[n, c, h + i, w + j] * @e[o, c, i, j]
    %a[n, o, h, w] = max(acc, 0.0:f32)
  }
  window "depth" [n: 1, o: 16, h: 20, w: 6 | i: 3, j: 3] {
    acc = dot(%a[n, o, h + i - 1, w + j - 1] else 0.0:f32, @d[o, 0, i, j])
    %b[n, o, h, w] = acc + f32(h)
  }
  contract "project" [n: 1, o: 4, h: 20, w: 6 | c: 16, i: 1, j: 1] {
    acc: f32 = %b[n, c, h + i, w + j] * @p[o, c, i, j]
    %y[n, o, h, w] = acc + %t[n, o, h, w]
  }
}
"#;

    fn numbers(shape: &[usize]) -> Tensor {
        let n = shape.iter().product::<usize>();
        Tensor::from_vec(shape, (0..n).map(|i| (i * 7 % 13) as f32 - 6.0).collect())
    }

    fn block() -> Program {
        let mut program = kernel::parse(BLOCK).unwrap();
        for id in program.buffer_ids() {
            let shape: Vec<usize> =
                program.buffer(id).ty.shape.iter().map(|d| d.as_const().unwrap() as usize).collect();
            if matches!(program.buffer(id).kind, BufferKind::Const(_)) {
                program.set_kind(id, BufferKind::Const(numbers(&shape)));
            }
        }
        program
    }

    fn arena(program: &Program) -> usize {
        let mut laid_out = program.clone();
        layout::run(&mut laid_out).unwrap();
        memory::plan(&laid_out, ASKS).unwrap().bytes
    }

    #[test]
    fn a_block_in_strips_computes_the_same_in_less_memory() {
        let whole = block();
        let inputs = [numbers(&[1, 4, 20, 6])];
        let expected = eval::kernel::run(&whole, &inputs).unwrap();
        let before = arena(&whole);
        for limit in [before * 3 / 4, before / 2, before * 2 / 5] {
            let mut program = whole.clone();
            run(&mut program, limit as u64, ASKS).unwrap();
            kernel::verify(&program).unwrap();
            assert!(arena(&program) <= limit, "{} of {limit}", arena(&program));
            assert!(program.kernels().len() > whole.kernels().len());
            // Every product is the same, whichever strip computes it.
            assert_eq!(eval::kernel::run(&program, &inputs).unwrap(), expected, "{program}");
        }
    }

    #[test]
    fn what_is_small_enough_stays_as_it_is() {
        let mut program = block();
        let limit = arena(&program) as u64;
        run(&mut program, limit, ASKS).unwrap();
        assert_eq!(program, block());
    }

    #[test]
    fn the_least_is_told_and_possible() {
        let error = run(&mut block(), 1000, ASKS).unwrap_err();
        let least = error.message.split("the least is ").nth(1).and_then(|s| s.split(',').next());
        let least: u64 = least.unwrap().parse().unwrap();
        assert!(error.message.contains("'a.s1' of 2048 bytes"), "{error}");
        let mut program = block();
        run(&mut program, least, ASKS).unwrap();
        assert_eq!(arena(&program) as u64, least);
    }
}
