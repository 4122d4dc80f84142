//! The commands of the session: one file each; this is the list.

mod asm;
mod calls;
mod command;
mod cut;
mod diff;
mod explain;
mod help;
mod hist;
mod integers;
mod list;
mod load;
mod nodes;
mod print;
mod probe;
mod profile;
mod prune;
mod quant;
mod quit;
mod reduce;
mod save;
mod set;
mod show;
mod stage;
mod time;
mod tutorial;
mod type_;
mod undo;
mod what_if;

pub(crate) use command::{Args, Command, Word};
pub(crate) use stage::STAGES;

use crate::expression::suggest;
use crate::fault::{Fault, Result};
use crate::session::Session;

/// Every command, in the order in which `:help` tells of them.
pub(crate) const COMMANDS: &[&Command] = &[
    &load::COMMAND,
    &save::COMMAND,
    &set::COMMAND,
    &list::COMMAND,
    &type_::COMMAND,
    &print::COMMAND,
    &hist::COMMAND,
    &show::COMMAND,
    &nodes::COMMAND,
    &probe::COMMAND,
    &cut::COMMAND,
    &diff::COMMAND,
    &stage::COMMAND,
    &asm::COMMAND,
    &explain::COMMAND,
    &time::COMMAND,
    &profile::COMMAND,
    &quant::COMMAND,
    &prune::COMMAND,
    &undo::COMMAND,
    &reduce::COMMAND,
    &help::COMMAND,
    &tutorial::COMMAND,
    &quit::COMMAND,
];

/// The command of that name; its beginning is enough where it is no other's.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    let exact = COMMANDS.iter().find(|c| c.name == name);
    let mut begun = COMMANDS.iter().filter(|c| c.name.starts_with(name) && !name.is_empty());
    exact.or(begun.next().filter(|_| begun.next().is_none())).copied()
}

/// Carries out a line that begins with a colon; the command that it was.
///
/// # Errors
///
/// What the command says; that there is none of that name.
pub(crate) fn run(session: &mut Session, line: &str) -> Result<&'static Command> {
    let start = line.find(':').map_or(0, |i| i + 1);
    let line = without_comment(line);
    let end = line[start..].find(char::is_whitespace).map_or(line.len(), |i| start + i);
    let name = &line[start..end];
    let Some(command) = find(name) else {
        let near = suggest::hint(name, COMMANDS.iter().map(|c| c.name));
        let hint = if near.is_empty() { ":help lists them".to_owned() } else { near };
        return Err(Fault::at(start..end.max(start + 1), format!("there is no command '{name}'")).hint(hint));
    };
    (command.run)(session, &Args { line, at: end, commands: COMMANDS, command })?;
    Ok(command)
}

/// The line up to a number sign that stands behind a blank and outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (i, c) in line.char_indices() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' && before.is_whitespace() => return &line[..i],
            None => {}
        }
        before = c;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_an_example_that_is_its_own() {
        for command in COMMANDS {
            assert!(command.usage.starts_with(&format!(":{}", command.name)), "{}", command.usage);
            assert!(command.example.starts_with(&format!(":{}", command.name)), "{}", command.example);
            assert!(!command.about.is_empty() && command.about.len() < 80, "{}", command.about);
        }
    }

    #[test]
    fn beginnings_and_comments() {
        assert_eq!(find("lo").map(|c| c.name), Some("load"));
        assert!(find("s").is_none() && find("").is_none());
        assert_eq!(without_comment(":load a#b # c"), ":load a#b ");
        assert_eq!(without_comment(":load '# x'"), ":load '# x'");
    }
}
