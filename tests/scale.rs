//! Compile time grows with the number of nodes, not faster; no stack is as deep as a graph is long.
//!
//! `kiln-benches --bin scale` prints the times of large graphs; here ratios of small ones are enough to tell n from n^2.

#![allow(unsafe_code)] // the clock of the process

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use kiln_benches::graphs::{self, KINDS};
use kiln_compiler::internals::emit::object::{self, ObjectOptions};
use kiln_compiler::internals::pipeline::{self, Compiled, Observer, Options};
use kiln_ir::graph::Graph;
use kiln_ir::kernel::Program;
use kiln_ir::{Tensor, eval, graph, kernel};
use kiln_targets::Target;

/// Nodes of the smaller graph, and how many times as many the larger has.
const NODES: usize = 1500;
const TIMES: usize = 4;

/// The bound on the times of both: between what n log n costs, 4.7 here, and n^2, 16.
const RATIO: f64 = 2.2 * TIMES as f64;

/// What shares caches and memory with this process only ever makes it slower, so the least times of many rounds are its
/// own. Most graphs are within the bound after the first rounds.
const ROUNDS: std::ops::RangeInclusive<usize> = 3..=20;

/// Times that are noise.
const FLOOR: Duration = Duration::from_millis(10);

/// One test at a time: the clock is that of the process.
static ALONE: Mutex<()> = Mutex::new(());

/// Time that this process has had on any core: other processes do not add to it.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time` alone.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Time of each stage, from the end of the one before.
#[derive(Default)]
struct Stages {
    times: Vec<(&'static str, Duration)>,
    last: Duration,
    program: Option<Program>,
}

impl Stages {
    fn done(&mut self, stage: &'static str) {
        let now = cpu_time();
        self.times.push((stage, now - std::mem::replace(&mut self.last, now)));
    }
}

impl Observer for Stages {
    fn time(&mut self, pass: &'static str, _: Duration) {
        self.done(pass);
    }

    fn program(&mut self, pass: &'static str, program: &Program) {
        if pass == "absorb" {
            self.program = Some(program.clone());
        }
    }
}

fn target() -> Target {
    kiln_targets::resolve("x86_64-unknown-linux-gnu", "baseline", "").unwrap()
}

fn compile(graph: Graph) -> Stages {
    let target = target();
    let mut stages = Stages { last: cpu_time(), ..Stages::default() };
    let compiled = pipeline::run(graph, &Options::new(target.clone()), &mut stages).unwrap();
    let Compiled::Plan(plan) = compiled else { panic!("no plan") };
    let object = object::emit(plan, &target, "m", &ObjectOptions::default()).unwrap();
    stages.done("code");
    object.to_bytes().unwrap();
    stages.done("write");
    stages
}

#[test]
fn every_stage_takes_time_proportional_to_the_nodes() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (kind, make) in KINDS {
        let mut least: [BTreeMap<&'static str, Duration>; 2] = Default::default();
        let mut slow = Vec::new();
        for round in 1..=*ROUNDS.end() {
            // In turns, so that both sizes meet the same machine.
            for (least, nodes) in least.iter_mut().zip([NODES, TIMES * NODES]) {
                for (stage, time) in compile(make(nodes).unwrap()).times {
                    let best = least.entry(stage).or_insert(time);
                    *best = time.min(*best);
                }
            }
            slow = slow_stages(&least);
            if ROUNDS.contains(&round) && slow.is_empty() {
                break;
            }
        }
        assert!(slow.is_empty(), "{kind}, {NODES} nodes and {TIMES} times as many:\n{}", slow.join("\n"));
    }
}

/// The stages whose times for the larger graph are out of proportion.
fn slow_stages([small, large]: &[BTreeMap<&'static str, Duration>; 2]) -> Vec<String> {
    let mut slow = Vec::new();
    for (stage, large) in large {
        let small = small[stage].max(FLOOR / TIMES as u32);
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        if ratio >= RATIO {
            slow.push(format!("{stage}: {small:?} and {large:?}, {ratio:.1} times"));
        }
    }
    slow
}

/// What recursion over a chain would need more than a test's stack for.
#[test]
fn a_long_chain_needs_no_deep_stack() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let graph = graphs::chain(40_000).unwrap();
    let text = graph.to_string();
    assert_eq!(graph::parse(&text).unwrap().node_count(), 40_000);
    let input = Tensor::from_vec::<f32>(&[1, 16], (0..16).map(|i| i as f32 - 8.0).collect());
    let expected = eval::graph::run(&graph, std::slice::from_ref(&input)).unwrap();
    let stages = compile(graph.clone());
    let program = stages.program.unwrap();
    let got = eval::kernel::run(&program, &[input]).unwrap();
    let (got, expected) = (got[0].to_f64s().unwrap(), expected[0].to_f64s().unwrap());
    for (got, expected) in got.iter().zip(&expected) {
        assert!((got - expected).abs() <= 1e-3 * expected.abs().max(1.0), "{got} and {expected}");
    }
    assert_eq!(kernel::parse(&program.to_string()).unwrap(), program);
}
