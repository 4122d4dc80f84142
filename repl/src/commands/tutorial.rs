//! `:tutorial`: a way through the session, on a model that comes with it.

use std::sync::Arc;

use kiln_compiler::Limits;
use kiln_onnx::Document;

use super::command::{Args, Command, Word};
use super::load;
use crate::fault::{Fault, Result};
use crate::models::Source;
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "tutorial",
    usage: ":tutorial [LESSON]",
    about: "a way through the session in a few lessons, on a model that comes along",
    more: "Each lesson is a few lines to type; :tutorial alone goes on to the next.",
    example: ":tutorial 1",
    words: &[Word::One(&["1", "2", "3", "4", "5", "6"])],
    changes: true,
    run,
};

/// A network for digits of 28 x 28, which the repository ships.
const MODEL: &[u8] = include_bytes!("../../../tests/models/tiny/mnist_cnn.onnx");

/// What the model is called.
const NAME: &str = "net";

const LESSONS: &[(&str, &[&str], &str)] = &[
    (
        "Tensors and expressions",
        &[
            "x = random([1, 1, 28, 28], seed=1)",
            "y = Relu(x) * 2",
            ":print y[0, 0, 0, :5]",
            ":hist y",
            ":show x",
        ],
        "Operators of ONNX are functions. A statement is compiled for your processor, then run.",
    ),
    (
        "A model is a function",
        &[":nodes net", "p = Softmax(net(x))", "ArgMax(p, axis=-1, keepdims=0)", ":time net(x)"],
        "The model has been loaded as 'net'; its batch is open, and a call binds it.",
    ),
    (
        "Within a model",
        &[
            ":profile net",
            ":cut net image -> /f/f.5/MaxPool_output_0 as head",
            ":type head(x)",
            ":diff net interp",
        ],
        "Every tensor has a name. The interpreter says what a model means; compiled code rounds a little differently.",
    ),
    (
        "The compiler from inside",
        &[":explain net", ":stage kernel net", ":stage -absorb net", ":asm x + 1"],
        "A model becomes loop nests, these are fused, get a schedule, and become machine code.",
    ),
    (
        "What if",
        &[":quant net int8", ":undo", ":prune net 0.5 4x1", ":undo"],
        "A change is measured: the error of the results, and the time.",
    ),
    (
        "Keeping it",
        &[":save p p.npy", ":save session session.kiln", ":help"],
        "A session is a script: `kiln repl --script session.kiln` carries it out again.",
    ),
];

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let wrong = || Fault::new(format!("there are lessons 1 to {}", LESSONS.len()));
    let number = match args.text() {
        "" => session.lesson + 1,
        text => text.parse().map_err(|_| wrong())?,
    };
    if number == LESSONS.len() + 1 {
        session.lesson = 0;
        session.out.line("That was the last lesson; :help tells of every command, :tutorial 1 begins again.");
        return Ok(());
    }
    let (title, lines, about) =
        number.checked_sub(1).and_then(|i: usize| LESSONS.get(i)).ok_or_else(wrong)?;
    if !session.models.contains_key(NAME) {
        let document = Document::from_bytes(MODEL, &Limits::default())?;
        load::model(session, NAME, Source::Document(Arc::new(document)))?;
    }
    session.lesson = number;
    let out = &session.out;
    out.line(format_args!("Lesson {number} of {}: {title}\n{about}\nType:", LESSONS.len()));
    lines.iter().for_each(|line| out.line(format_args!("  {line}")));
    out.line("then :tutorial goes on.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lessons_are_counted() {
        let Word::One(numbers) = COMMAND.words[0] else { panic!("numbers") };
        assert_eq!(numbers.len(), LESSONS.len());
    }
}
