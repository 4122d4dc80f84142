//! `:type`: type and shape of an expression.

use super::command::{Args, Command, Word};
use crate::evaluate;
use crate::fault::Result;
use crate::session::Session;
use crate::text::ast::Kind;

pub(super) const COMMAND: Command = Command {
    name: "type",
    usage: ":type EXPR",
    about: "type and shape of an expression; operators are not run for it",
    more: "",
    example: ":type Relu(x)",
    words: &[Word::Expr],
    changes: false,
    run,
};

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let expr = args.expr()?;
    if let Kind::Call(call) = &expr.kind
        && session.models.contains_key(&call.name)
    {
        // The compiled model says it without a run.
        let last = evaluate::given(session, call)?;
        let compiled = evaluate::compiled_for(session, &call.name, &last)?;
        let types: Vec<String> = compiled.outputs().iter().map(|p| p.ty.to_string()).collect();
        session.out.line(types.join(", "));
        return Ok(());
    }
    let prepared = evaluate::prepare(session, &expr, 1)?;
    session.out.line(prepared.built.types().join(", "));
    Ok(())
}
