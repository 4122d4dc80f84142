//! Machine code with its heat: the part of a kernel's time that each instruction takes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::samples::sample;
use anstyle::{AnsiColor, Style};
use kiln_compiler::Session;
use kiln_targets::Target;
use kiln_targets::encode::disassemble;
use kiln_targets::line::{self, Line};

/// Takes a tenth of the time.
const HOT: Style = AnsiColor::Red.on_default().bold();
/// Takes a thirtieth.
const WARM: Style = AnsiColor::Yellow.on_default();

/// The code of kernel `i` of a session's model as it lies in memory, each line with the part of the kernel's time that was
/// met there while it ran for about `length`; `colours` marks the hottest. Nothing where the machine has no decoder.
///
/// A complete run has left the kernel's operands in the arena. Where the system has no timers to sample by, or the code was
/// never met, lines stand alone.
pub fn text(
    session: &mut Session<'_>,
    i: usize,
    target: &Target,
    length: Duration,
    stop: &dyn Fn() -> bool,
    colours: bool,
) -> Option<String> {
    let code = session.model().machine_code(i);
    let lines = disassemble(target, code)?;
    let met = sample(code, || {
        let start = Instant::now();
        while start.elapsed() < length && !stop() {
            session.run_kernel(i);
        }
    });
    Some(told(&lines, &parts(&lines, &met.unwrap_or_default()), colours))
}

/// The part of all samples of each line; nothing where there are none.
fn parts(lines: &[Line], met: &[u32]) -> Vec<Option<f64>> {
    let total = met.iter().map(|n| u64::from(*n)).sum::<u64>();
    let starts: Vec<usize> = lines.iter().filter_map(|line| line.at).chain([met.len()]).collect();
    let mut next = 0;
    let part = |line: &Line| {
        let from = line.at?;
        next += 1;
        // Up to the instruction behind it: a sample is at the start of one, but for what a decoder takes for two.
        let sum = met.get(from..starts[next].max(from))?.iter().map(|n| u64::from(*n)).sum::<u64>();
        (total > 0 && sum > 0).then(|| sum as f64 / total as f64)
    };
    lines.iter().map(part).collect()
}

fn told(lines: &[Line], parts: &[Option<f64>], colours: bool) -> String {
    if parts.iter().all(Option::is_none) {
        return line::text(lines);
    }
    let mut out = String::new();
    for (line, part) in lines.iter().zip(parts) {
        let (part, mark) = match part {
            Some(part) => (format!("{:5.1}", 100.0 * part), mark(*part)),
            None => (" ".repeat(5), ' '),
        };
        let style = match part.trim().parse::<f64>() {
            Ok(percent) if colours && percent >= 10.0 => HOT,
            Ok(percent) if colours && percent >= 3.3 => WARM,
            _ => Style::new(),
        };
        let _ = writeln!(out, "{style}{part} {mark}{}{style:#}", line.text);
    }
    out
}

/// A bar of one character: full for a quarter of the time.
fn mark(part: f64) -> char {
    const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    EIGHTHS[((part * 32.0) as usize).min(7)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_before_their_instruction() {
        let line = |at: Option<usize>, text: &str| Line { at, text: text.to_owned() };
        let lines = [
            line(Some(0), "  mov"),
            line(None, "L0:"),
            line(Some(3), "  add"),
            line(Some(5), "  jne L0"),
            line(None, "C0:"),
        ];
        let met = [0, 0, 0, 6, 1, 1, 0, 0];
        let parts = parts(&lines, &met);
        assert_eq!(parts, [None, None, Some(0.875), Some(0.125), None]);
        let text = told(&lines, &parts, false);
        assert_eq!(text, "         mov\n       L0:\n 87.5 █  add\n 12.5 ▅  jne L0\n       C0:\n");
        assert!(told(&lines, &parts, true).contains("\x1b["));
        assert_eq!(told(&lines, &[None; 5], true).lines().next(), Some("  mov"));
    }
}
