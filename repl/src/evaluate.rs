//! Evaluates expressions: calls of models and of functions first, the rest as one graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_compiler::{Model as Compiled, Tensor};

use crate::engine;
use crate::expression::build::{Built, build};
use crate::expression::constant::{self, Scope};
use crate::expression::functions;
use crate::fault::{Fault, Result};
use crate::models::{Last, Source};
use crate::session::Session;
use crate::text::ast::{Call, Expr, Kind, Named, Statement, Subscript};

/// The name of the result that nobody gave one.
pub(crate) const UNNAMED: &str = "_";

/// Carries out a statement; what it gives, by name, if it is to be shown.
pub(crate) fn statement(session: &mut Session, statement: &Statement) -> Result<Vec<(String, Tensor)>> {
    for (name, span) in &statement.targets {
        session.check_name(name).map_err(|f| f.within(span))?;
    }
    let results =
        evaluate(session, &statement.expr, statement.targets.len().max(1), statement.targets.is_empty())?;
    if statement.targets.is_empty() {
        let name = match &statement.expr.kind {
            Kind::Name(name) => name.clone(),
            _ => UNNAMED.to_owned(),
        };
        let many = results.len() > 1;
        let mut shown = Vec::new();
        for (i, tensor) in results.into_iter().enumerate() {
            let name = if many { format!("{name}{i}") } else { name.clone() };
            if name.starts_with(UNNAMED) {
                session.variables.insert(name.clone(), tensor.clone());
            }
            shown.push((name, tensor));
        }
        return Ok(shown);
    }
    for ((name, _), tensor) in statement.targets.iter().zip(results) {
        session.models.remove(name);
        session.variables.insert(name.clone(), tensor);
    }
    Ok(Vec::new())
}

/// The results of an expression, so many; `all` of a model's if nobody counts.
pub(crate) fn evaluate(session: &mut Session, expr: &Expr, count: usize, all: bool) -> Result<Vec<Tensor>> {
    if let Kind::Call(call) = &expr.kind
        && session.models.contains_key(&call.name)
    {
        let mut results = model(session, call, expr)?;
        if results.len() < count {
            let message =
                format!("'{}' gives {}, and {count} names wait for one each", call.name, results.len());
            return Err(Fault::at(expr.span.clone(), message));
        }
        if !all && results.len() > count {
            let message = format!("'{}' gives {} results: write a name for each", call.name, results.len());
            return Err(Fault::at(expr.span.clone(), message));
        }
        results.truncate(if all { results.len() } else { count });
        return Ok(results);
    }
    let prepared = prepare(session, expr, count)?;
    prepared.run(session)
}

/// One tensor.
pub(crate) fn value(session: &mut Session, expr: &Expr) -> Result<Tensor> {
    let mut results = evaluate(session, expr, 1, false)?;
    if results.is_empty() {
        Err(Fault::at(expr.span.clone(), "this gives nothing"))
    } else {
        Ok(results.swap_remove(0))
    }
}

/// An expression whose calls of models and functions are done.
pub(crate) struct Prepared {
    /// The rest as a graph.
    pub(crate) built: Built,
}

/// What is left of an expression when calls of models and functions are done.
pub(crate) fn prepare(session: &mut Session, expr: &Expr, count: usize) -> Result<Prepared> {
    let mut leaves = Vec::new();
    let expr = called(session, expr, &mut leaves)?;
    let scope = Leaves { session, leaves: &leaves };
    Ok(Prepared { built: build(&expr, count, &scope)? })
}

impl Prepared {
    /// Runs it.
    pub(crate) fn run(self, session: &mut Session) -> Result<Vec<Tensor>> {
        if let Some(tensor) = &self.built.ready {
            return Ok(vec![tensor.clone()]);
        }
        let compiled = self.compiled(session)?;
        engine::run(&compiled, &self.built.inputs)
    }

    /// Compiles it, unless that has been done before.
    pub(crate) fn compiled(&self, session: &mut Session) -> Result<Arc<Compiled>> {
        let source = Source::Graph(Arc::new(self.built.graph.clone()));
        let identity = source.identity(None)?;
        let settings = session.settings.clone();
        let key = session.engine.key(&identity, &settings, "")?;
        if let Some(known) = session.engine.known(&key, &settings, false)? {
            return Ok(known);
        }
        let loaded = session.engine.load(&source, &settings)?;
        session.engine.compile(&key, loaded, &settings, false)
    }
}

/// A session with what was computed before the rest of an expression.
struct Leaves<'s> {
    session: &'s Session,
    leaves: &'s [Tensor],
}

impl Scope for Leaves<'_> {
    fn variable(&self, name: &str) -> Option<&Tensor> {
        self.session.variable(name)
    }

    fn leaf(&self, i: usize) -> Option<&Tensor> {
        self.leaves.get(i)
    }

    fn names(&self) -> Vec<&str> {
        self.session.names()
    }
}

/// The expression with calls of models and functions done: they are leaves.
fn called(session: &mut Session, expr: &Expr, leaves: &mut Vec<Tensor>) -> Result<Expr> {
    let mut leaf = |tensor: Tensor| {
        leaves.push(tensor);
        Kind::Leaf(leaves.len() - 1)
    };
    let boxed =
        |session: &mut Session, e: &Expr, leaves: &mut Vec<Tensor>| called(session, e, leaves).map(Box::new);
    let kind = match &expr.kind {
        Kind::Call(call) => {
            if let Some(function) = functions::find(&call.name) {
                let seed = session.settings.seed;
                leaf(functions::call(function, call, session, seed)?)
            } else if session.models.contains_key(&call.name) {
                leaf(value(session, expr)?)
            } else {
                let args = call.args.iter().map(|a| called(session, a, leaves)).collect::<Result<_>>()?;
                Kind::Call(Call { args, ..call.clone() })
            }
        }
        Kind::List(list) => {
            Kind::List(list.iter().map(|e| called(session, e, leaves)).collect::<Result<_>>()?)
        }
        Kind::Unary(op, a) => Kind::Unary(*op, boxed(session, a, leaves)?),
        Kind::Binary(op, a, b) => Kind::Binary(*op, boxed(session, a, leaves)?, boxed(session, b, leaves)?),
        Kind::Index(a, subscripts) => {
            let mut list = Vec::with_capacity(subscripts.len());
            for subscript in subscripts {
                list.push(match subscript {
                    Subscript::At(e) => Subscript::At(called(session, e, leaves)?),
                    other => other.clone(),
                });
            }
            Kind::Index(boxed(session, a, leaves)?, list)
        }
        other => other.clone(),
    };
    Ok(Expr { kind, span: expr.span.clone() })
}

/// What a call gives a model: operands in the order of its arguments or by name, and values of dimensions.
pub(crate) fn given(session: &mut Session, call: &Call) -> Result<Last> {
    let name = &call.name;
    let arguments = match session.model(name)?.arguments.clone() {
        Some(arguments) => arguments,
        None => arguments(session, name)?,
    };
    if call.args.len() > arguments.len() {
        let span = call.args[arguments.len()].span.clone();
        let message = format!("'{name}' takes {} tensors: {}", arguments.len(), arguments.join(", "));
        return Err(Fault::at(span, message));
    }
    let mut tensors: Vec<Option<Tensor>> = vec![None; arguments.len()];
    for (i, arg) in call.args.iter().enumerate() {
        tensors[i] = Some(value(session, arg)?);
    }
    let mut dims = BTreeMap::new();
    for Named { name: argument, span, value: expr } in &call.named {
        if let Some(i) = arguments.iter().position(|a| a == argument) {
            let tensor = value(session, expr)?;
            if tensors[i].replace(tensor).is_some() {
                return Err(Fault::at(span.clone(), format!("'{argument}' is given twice")));
            }
            continue;
        }
        let Some(n) = constant::int(expr, session) else {
            let message = format!("'{name}' has no argument '{argument}', and a dimension is an integer");
            return Err(
                Fault::at(span.clone(), message).hint(format!("its arguments: {}", arguments.join(", ")))
            );
        };
        dims.insert(argument.clone(), n);
    }
    let missing = arguments.iter().zip(&tensors).find(|(_, t)| t.is_none());
    if let Some((argument, _)) = missing {
        let message = format!("'{name}' needs a tensor for '{argument}'");
        let hint = format!("it takes {}: {name}({})", arguments.join(", "), arguments.join(", "));
        return Err(Fault::at(call.name_span.clone(), message).hint(hint));
    }
    let inputs = arguments.into_iter().zip(tensors.into_iter().flatten()).collect();
    Ok(Last { inputs, dims })
}

/// Names of a model's arguments: of the compiled one if it is there, so that a large model need not be read.
fn arguments(session: &mut Session, name: &str) -> Result<Vec<String>> {
    let names: Vec<String> = match session.compiled(name, None) {
        Ok(compiled) => compiled.inputs().iter().map(|p| p.name.clone()).collect(),
        Err(fault) if fault.interrupted => return Err(fault),
        Err(_) => session.load(name, None)?.inputs().into_iter().map(|(n, _)| n.to_owned()).collect(),
    };
    session.model(name)?.arguments = Some(names.clone());
    Ok(names)
}

/// The compiled model for a call: the one for the declared shapes where these are what is given.
pub(crate) fn compiled_for(session: &mut Session, name: &str, last: &Last) -> Result<Arc<Compiled>> {
    let dims = session.settings.dims.clone();
    let open = session.model(name)?.open_with == Some(dims);
    if last.dims.is_empty()
        && !open
        && let Ok(compiled) = session.compiled(name, None)
    {
        let declared: Vec<_> = compiled.inputs().iter().map(|p| (&*p.name, &p.ty)).collect();
        let given: Vec<_> = last.inputs.iter().map(|(_, t)| (t.dtype, &*t.shape)).collect();
        if kiln_ir::eval::bind_shapes(&declared, &given, compiled.open_dimensions()).is_ok() {
            return Ok(compiled);
        }
    }
    session.compiled(name, Some(last))
}

fn model(session: &mut Session, call: &Call, expr: &Expr) -> Result<Vec<Tensor>> {
    let name = &call.name;
    let last = given(session, call)?;
    let at = |f: Fault| f.within(&expr.span);
    let compiled = compiled_for(session, name, &last).map_err(at)?;
    let tensors: Vec<Tensor> = last.inputs.iter().map(|(_, t)| t.clone()).collect();
    let results = engine::run(&compiled, &tensors).map_err(at)?;
    session.model(name)?.called(last);
    Ok(results)
}
