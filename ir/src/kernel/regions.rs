//! Regions: kernels that run where a condition holds, or again and again.
//!
//! The list of kernels stays flat, and so does the arena: a region is a run of neighbouring kernels, and regions nest. What
//! steers one is read from *cells*, buffers of a single element that kernels write like any other:
//!
//! ```text
//!   when %c { .. }  unless %c { .. }                  one of two branches: both write what is read behind them
//!   loop %i to 8 while %go carries (%s, %go) { .. }   %i counts; the body writes %s and %go anew at its end
//! ```
//!
//! A loop looks at its end before every turn: at the count, at the condition, and at the status of the run, which ends it.
//! What a loop carries is written before it and by the last kernels of its body, each a copy of its own, so that everything else
//! in the body reads what the turn before has left.

use super::access::BufferId;
use crate::dim::Dim;

/// A region, by position in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u32);

/// When kernels run. `S` is how cells are named: by buffer here, by access in a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Region<S = BufferId> {
    /// The region around it.
    pub parent: Option<RegionId>,
    /// What steers it.
    pub control: Control<S>,
}

/// What steers a region.
#[derive(Clone, Debug, PartialEq)]
pub enum Control<S = BufferId> {
    /// It runs once, where a bool has a value.
    When {
        /// The bool.
        condition: S,
        /// Its value.
        is: bool,
    },
    /// It runs again and again.
    Loop(Repeat<S>),
}

/// A loop.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeat<S = BufferId> {
    /// An i64 that counts from 0, written by the loop itself.
    pub counter: S,
    /// How often it runs at most.
    pub trips: Option<Trips<S>>,
    /// A bool without which it ends.
    pub condition: Option<S>,
    /// What the body writes for its next turn.
    pub carried: Vec<S>,
}

/// How often a loop runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Trips<S = BufferId> {
    /// A size.
    Count(Dim),
    /// An i64 that is read when the loop begins and before each turn.
    Read(S),
}

impl<S> Control<S> {
    /// The cells, in the order of the text form.
    pub fn cells(&self) -> Vec<&S> {
        match self {
            Self::When { condition, .. } => vec![condition],
            Self::Loop(Repeat { counter, trips, condition, carried }) => {
                let trips = trips.iter().filter_map(|t| match t {
                    Trips::Read(cell) => Some(cell),
                    Trips::Count(_) => None,
                });
                [counter].into_iter().chain(trips).chain(condition).chain(carried).collect()
            }
        }
    }

    /// Whether it is a loop.
    pub fn is_loop(&self) -> bool {
        matches!(self, Self::Loop(_))
    }

    /// The same with cells named otherwise.
    pub fn map<T, E>(&self, f: &mut dyn FnMut(&S) -> Result<T, E>) -> Result<Control<T>, E> {
        Ok(match self {
            Self::When { condition, is } => Control::When { condition: f(condition)?, is: *is },
            Self::Loop(Repeat { counter, trips, condition, carried }) => Control::Loop(Repeat {
                counter: f(counter)?,
                trips: match trips {
                    None => None,
                    Some(Trips::Count(size)) => Some(Trips::Count(size.clone())),
                    Some(Trips::Read(cell)) => Some(Trips::Read(f(cell)?)),
                },
                condition: condition.as_ref().map(&mut *f).transpose()?,
                carried: carried.iter().map(f).collect::<Result<_, E>>()?,
            }),
        })
    }
}

/// The regions around a place, outermost first, its own last.
pub fn path<S>(regions: &[Region<S>], mut at: Option<RegionId>) -> Vec<RegionId> {
    let mut path = Vec::new();
    // A circle, which the verifier refuses, must not hang it.
    while let Some(id) = at.filter(|_| path.len() <= regions.len()) {
        path.push(id);
        at = regions.get(id.0 as usize).and_then(|r| r.parent);
    }
    path.reverse();
    path
}

/// The innermost region around both of two places.
pub fn common<S>(regions: &[Region<S>], a: Option<RegionId>, b: Option<RegionId>) -> Option<RegionId> {
    if a == b {
        return a;
    }
    let (a, b) = (path(regions, a), path(regions, b));
    a.iter().zip(&b).take_while(|(x, y)| x == y).last().map(|(x, _)| *x)
}

/// What is run in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The kernel at a position.
    Kernel(usize),
    /// A region.
    Region(RegionId, Vec<Step>),
}

impl Step {
    /// The position of the first kernel in it.
    pub fn first(&self) -> usize {
        match self {
            Self::Kernel(i) => *i,
            Self::Region(_, steps) => steps.first().map_or(0, Self::first),
        }
    }

    /// The position of the last kernel in it.
    pub fn last(&self) -> usize {
        match self {
            Self::Kernel(i) => *i,
            Self::Region(_, steps) => steps.last().map_or(0, Self::last),
        }
    }
}

/// A flat list of kernels as steps: `within` says for each which region it is in.
pub fn steps<S>(regions: &[Region<S>], within: impl Iterator<Item = Option<RegionId>>) -> Vec<Step> {
    let mut done = Vec::new();
    let mut open: Vec<(RegionId, Vec<Step>)> = Vec::new();
    fn close(open: &mut Vec<(RegionId, Vec<Step>)>, done: &mut Vec<Step>) {
        if let Some((id, steps)) = open.pop() {
            open.last_mut().map_or(done, |(_, around)| around).push(Step::Region(id, steps));
        }
    }
    for (i, region) in within.enumerate() {
        let path = path(regions, region);
        let same = open.iter().zip(&path).take_while(|((a, _), b)| a == *b).count();
        while open.len() > same {
            close(&mut open, &mut done);
        }
        open.extend(path[same..].iter().map(|id| (*id, Vec::new())));
        open.last_mut().map_or(&mut done, |(_, steps)| steps).push(Step::Kernel(i));
    }
    while !open.is_empty() {
        close(&mut open, &mut done);
    }
    done
}

/// First and last kernel of every loop, inner ones first.
pub fn loops<S>(regions: &[Region<S>], steps: &[Step]) -> Vec<(RegionId, usize, usize)> {
    fn visit<S>(regions: &[Region<S>], steps: &[Step], out: &mut Vec<(RegionId, usize, usize)>) {
        for step in steps {
            if let Step::Region(id, inner) = step {
                visit(regions, inner, out);
                if regions[id.0 as usize].control.is_loop() {
                    out.push((*id, step.first(), step.last()));
                }
            }
        }
    }
    let mut out = Vec::new();
    visit(regions, steps, &mut out);
    out
}

/// What runs kernels one after the other.
pub trait Machine<S> {
    /// Why a run ends early.
    type Stop;
    /// Runs the kernel at a position.
    fn kernel(&mut self, position: usize) -> Result<(), Self::Stop>;
    /// The value of a cell, in a region whose first kernel is at `position`.
    fn read(&mut self, cell: &S, position: usize) -> Result<i64, Self::Stop>;
    /// Writes a counter.
    fn write(&mut self, cell: &S, value: i64, position: usize) -> Result<(), Self::Stop>;
    /// The value of a size.
    fn size(&mut self, size: &Dim) -> Result<i64, Self::Stop>;
}

/// Runs steps: what regions mean.
pub fn run<S, M: Machine<S>>(regions: &[Region<S>], steps: &[Step], machine: &mut M) -> Result<(), M::Stop> {
    for step in steps {
        let (id, inner) = match step {
            Step::Kernel(i) => {
                machine.kernel(*i)?;
                continue;
            }
            Step::Region(id, inner) => (id, inner),
        };
        let first = step.first();
        match &regions[id.0 as usize].control {
            Control::When { condition, is } => {
                if (machine.read(condition, first)? != 0) == *is {
                    run(regions, inner, machine)?;
                }
            }
            Control::Loop(Repeat { counter, trips, condition, .. }) => {
                for turn in 0.. {
                    let trips = match trips {
                        None => i64::MAX,
                        Some(Trips::Count(size)) => machine.size(size)?,
                        Some(Trips::Read(cell)) => machine.read(cell, first)?,
                    };
                    let go = match condition {
                        Some(cell) => machine.read(cell, first)? != 0,
                        None => true,
                    };
                    if turn >= trips || !go {
                        break;
                    }
                    machine.write(counter, turn, first)?;
                    run(regions, inner, machine)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval;
    use crate::kernel::{parse, verify};
    use crate::tensor::Tensor;

    fn when(parent: Option<u32>) -> Region {
        let control = Control::When { condition: BufferId(0), is: true };
        Region { parent: parent.map(RegionId), control }
    }

    #[test]
    fn a_flat_list_as_steps() {
        let regions = [when(None), when(Some(0)), when(None)];
        let within = [None, Some(1), Some(0), Some(2), None].map(|r: Option<u32>| r.map(RegionId));
        let inner = Step::Region(RegionId(1), vec![Step::Kernel(1)]);
        let expected = [
            Step::Kernel(0),
            Step::Region(RegionId(0), vec![inner, Step::Kernel(2)]),
            Step::Region(RegionId(2), vec![Step::Kernel(3)]),
            Step::Kernel(4),
        ];
        assert_eq!(steps(&regions, within.into_iter()), expected);
        assert_eq!((expected[1].first(), expected[1].last()), (1, 2));
        assert_eq!(common(&regions, Some(RegionId(1)), Some(RegionId(0))), Some(RegionId(0)));
        assert_eq!(common(&regions, Some(RegionId(1)), Some(RegionId(2))), None);
    }

    /// Powers of two by a loop, one of two values by a condition.
    const TEXT: &str = r#"program @m {
  input %c: bool[]
  input %n: i64[]
  input %x: f32[3]
  temp %i: i64[]
  temp %s: f32[3]
  temp %t: f32[3]
  temp %u: f32[3]
  output %y: f32[3]
  output %all: f32[4, 3]
  map "start" [k: 3] {
    %s[k] = %x[k]
  }
  map "none" [a: 4, k: 3] {
    %all[a, k] = 0.0:f32
  }
  loop %i to %n carries (%s) {
    map "double" [k: 3] {
      %t[k] = %s[k] + %s[k]
    }
    rearrange "keep" [k: 3] {
      %all[(%i[]), k] = %t[k]
    }
    map "next" [k: 3] {
      %s[k] = %t[k]
    }
  }
  when %c {
    map "same" [k: 3] {
      %u[k] = %s[k]
    }
  }
  unless %c {
    map "less" [k: 3] {
      %u[k] = 0.0:f32 - %s[k]
    }
  }
  map "y" [k: 3] {
    %y[k] = %u[k]
  }
}
"#;

    #[test]
    fn text_verifier_and_interpreter_know_regions() {
        let program = parse(TEXT).unwrap();
        assert_eq!(program.to_string(), TEXT);
        verify(&program).unwrap();
        let x = Tensor::from_vec(&[3], vec![1f32, 2.0, 3.0]);
        let run = |c: bool, n: i64| {
            let inputs = [Tensor::from_bools(&[], [c]), Tensor::from_vec(&[], vec![n]), x.clone()];
            eval::kernel::run(&program, &inputs)
        };
        let results = run(true, 2).unwrap();
        assert_eq!(results[0].to_f64s().unwrap(), [4.0, 8.0, 12.0]);
        assert_eq!(results[1].to_f64s().unwrap()[..6], [2.0, 4.0, 6.0, 4.0, 8.0, 12.0]);
        assert_eq!(run(false, 0).unwrap()[0].to_f64s().unwrap(), [-1.0, -2.0, -3.0]);
        // A loop of more turns than there is room for.
        assert!(run(true, 5).is_err());
    }

    #[test]
    fn the_verifier_refuses_what_may_not_have_been_written() {
        let broken = |from: &str, to: &str| {
            let text = TEXT.replace(from, to);
            assert_ne!(text, TEXT);
            verify(&parse(&text).unwrap()).unwrap_err().to_string()
        };
        let one = broken("unless %c", "when %c");
        assert!(one.contains("reads 'u', which nothing has written"), "{one}");
        let type_ = broken("when %c {\n    map \"same\"", "when %n {\n    map \"same\"");
        assert!(type_.contains("steers a region, which takes one bool"), "{type_}");
        let kept = broken("%s[k] = %t[k]", "%u[k] = %t[k]");
        assert!(kept.contains("is carried by a loop that does not write it"), "{kept}");
        let own = broken("%s[k] = %x[k]", "%t[k] = %x[k]");
        assert!(own.contains("'s' (f32[3]) steers a region before it is written"), "{own}");
    }
}
