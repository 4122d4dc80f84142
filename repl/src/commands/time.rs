//! `:time`: how long an expression or a model takes.

use std::time::{Duration, Instant};

use kiln_compiler::{Model, Tensor};
use kiln_tools::measure;

use super::command::{Args, Command, Word};
use crate::engine;
use crate::evaluate;
use crate::fault::{Fault, Result};
use crate::interrupt;
use crate::session::Session;
use crate::text::ast::Kind;

pub(super) const COMMAND: Command = Command {
    name: "time",
    usage: ":time EXPR",
    about: "min, median and p99 of runs of an expression or a model",
    more: "What the expression reads is computed once, before; it is run for half a second, 3 times at least.",
    example: ":time Relu(x)",
    words: &[Word::Expr],
    changes: false,
    run,
};

/// How long is measured.
const LENGTH: Duration = Duration::from_millis(500);
/// A run that nobody minds waiting for.
const SHORT: Duration = Duration::from_millis(100);
const WARMUP: usize = 3;
const LEAST_RUNS: usize = 3;
const MOST_RUNS: usize = 1 << 20;

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let expr = args.expr()?;
    let (compiled, inputs) = match &expr.kind {
        Kind::Call(call) if session.models.contains_key(&call.name) => {
            let last = evaluate::given(session, call)?;
            let compiled = evaluate::compiled_for(session, &call.name, &last)?;
            let inputs: Vec<Tensor> = last.inputs.iter().map(|(_, t)| t.clone()).collect();
            session.model(&call.name)?.called(last);
            (compiled, inputs)
        }
        _ => {
            let prepared = evaluate::prepare(session, &expr, 1)?;
            if prepared.built.ready.is_some() {
                return Err(Fault::at(expr.span, "nothing is computed here: the value is there already"));
            }
            (prepared.compiled(session)?, prepared.built.inputs)
        }
    };
    let mut times = times(&compiled, &inputs, LENGTH)?;
    let summary = measure::summarise(&mut times);
    let threads = session.settings.threads;
    session.out.line(format_args!(
        "min {:.3} ms, median {:.3} ms, mean {:.3} ms, p99 {:.3} ms; {} runs on {threads} thread{}",
        summary.min,
        summary.median,
        summary.mean,
        summary.p99,
        times.len(),
        if threads == 1 { "" } else { "s" },
    ));
    Ok(())
}

/// Times of runs.
pub(super) fn times(model: &Model, inputs: &[Tensor], length: Duration) -> Result<Vec<Duration>> {
    let mut run = model.session_with(inputs)?;
    let mut longest = Duration::ZERO;
    for _ in 0..WARMUP {
        let begin = Instant::now();
        engine::step(&mut run)?;
        longest = longest.max(begin.elapsed());
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < LEAST_RUNS || start.elapsed() < length && times.len() < MOST_RUNS {
        if interrupt::asked() {
            return Err(Fault::interrupted());
        }
        let begin = Instant::now();
        // Short runs are timed as they are otherwise, and can be stopped between two.
        if longest < SHORT {
            run.run()?
        } else {
            engine::step(&mut run)?
        }
        times.push(begin.elapsed());
    }
    Ok(times)
}
