//! What is typed: words, statements, and whether there is more to come.

pub(crate) mod ast;
pub(crate) mod complete;
pub(crate) mod lexer;
pub(crate) mod parser;

pub(crate) use complete::is_complete;
