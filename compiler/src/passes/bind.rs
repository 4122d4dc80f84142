//! Symbolic dimensions become constants, or get bounds.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use kiln_ir::graph::Graph;
use kiln_ir::limits::MAX_EXTENT;
use kiln_ir::{Bound, Dim, Error, Fact, Result, Shape, bail_invalid};

use super::infer;

/// What `--dim` says of one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DimBinding {
    /// A symbol, or `INPUT.AXIS`.
    pub name: String,
    /// Its value or bounds.
    pub value: DimValue,
}

/// A value or bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DimValue {
    /// Known at compile time.
    Fixed(i64),
    /// Known when the model runs.
    Open(Bound),
}

impl FromStr for DimBinding {
    type Err = Error;

    /// `NAME=N`, `NAME=LO..HI` or `NAME=LO..HI:TYPICAL`.
    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.rsplit_once('=').and_then(|(name, value)| {
            let value = match value.split_once("..") {
                None => DimValue::Fixed(value.trim().parse().ok()?),
                Some((lo, rest)) => {
                    let (hi, typical) = rest.split_once(':').map_or((rest, None), |(hi, t)| (hi, Some(t)));
                    let mut bound = Bound::from((lo.trim().parse().ok()?, hi.trim().parse().ok()?));
                    if let Some(typical) = typical {
                        bound.typical = typical.trim().parse().ok()?;
                    }
                    DimValue::Open(bound)
                }
            };
            Some(Self { name: name.trim().to_owned(), value }).filter(|b| !b.name.is_empty())
        });
        let binding = parsed
            .ok_or_else(|| Error::invalid(format!("'{text}' is not NAME=N or NAME=LO..HI[:TYPICAL]")))?;
        binding.check(text)?;
        Ok(binding)
    }
}

/// What `--bound` says of one value whose size depends on data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeBound {
    /// The value.
    pub value: String,
    /// The most elements along each axis, or one number for all of them.
    pub most: Vec<i64>,
}

impl FromStr for SizeBound {
    type Err = Error;

    /// `VALUE=N` or `VALUE=N1xN2x..`.
    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.rsplit_once('=').and_then(|(value, most)| {
            let most = most.split('x').map(|n| n.trim().parse().ok()).collect::<Option<Vec<i64>>>()?;
            Some(Self { value: value.trim().to_owned(), most }).filter(|b| !b.value.is_empty())
        });
        let bound =
            parsed.ok_or_else(|| Error::invalid(format!("'{text}' is not VALUE=N or VALUE=N1xN2x..")))?;
        if bound.most.iter().any(|n| !(0..=MAX_EXTENT).contains(n)) {
            bail_invalid!("'{text}' is not within 0..={MAX_EXTENT}");
        }
        Ok(bound)
    }
}

/// Notes how large values may be whose sizes depend on data.
///
/// # Errors
///
/// Invalid, where the graph has no such value.
pub fn limit(graph: &mut Graph, bounds: &[SizeBound]) -> Result<()> {
    for SizeBound { value, most } in bounds {
        if graph.find(value).is_none() && !graph.output_names().contains(value) {
            return Err(Error::invalid(format!("the model has no value '{value}'")).hint(
                "--bound takes names of the model's values, which kiln dump MODEL --stage import tells",
            ));
        }
        if graph.most.insert(value.clone(), most.clone()).is_some_and(|old| old != *most) {
            bail_invalid!("value '{value}' is bounded twice");
        }
    }
    Ok(())
}

impl DimBinding {
    /// Refuses what no dimension can be; `text` is what was asked for.
    fn check(&self, text: &str) -> Result<()> {
        let Bound { lo, hi, typical } = match self.value {
            DimValue::Fixed(value) => (value, value).into(),
            DimValue::Open(bound) => bound,
        };
        if lo < 0 || hi > MAX_EXTENT || lo > hi {
            bail_invalid!("'{text}' is not within 0..={MAX_EXTENT}");
        }
        if !(lo..=hi).contains(&typical) {
            bail_invalid!("'{text}': {typical} is not within {lo}..{hi}");
        }
        Ok(())
    }
}

/// Binds dimensions of the graph's arguments and infers everything anew.
pub fn run(graph: &mut Graph, bindings: &[DimBinding]) -> Result<()> {
    let mut fixed: BTreeMap<Arc<str>, Dim> = BTreeMap::new();
    let mut open: BTreeMap<Arc<str>, Bound> = BTreeMap::new();
    for binding in bindings {
        binding.check(&binding.name)?;
        let symbol = resolve(graph, &binding.name)?;
        let doubled = match binding.value {
            DimValue::Fixed(value) => {
                open.contains_key(&symbol)
                    || fixed.insert(symbol, Dim::Const(value)).is_some_and(|old| !old.is(value))
            }
            DimValue::Open(bound) => {
                fixed.contains_key(&symbol) || open.insert(symbol, bound).is_some_and(|old| old != bound)
            }
        };
        if doubled {
            bail_invalid!("dimension '{}' is bound twice", binding.name);
        }
    }
    for id in graph.inputs().to_vec() {
        let Some(fact) = &graph.value(id).fact else { continue };
        let shape: Shape = fact.shape.iter().map(|d| d.substitute(&fixed)).collect();
        let fact = Fact::new(fact.dtype, shape);
        graph.set_fact(id, fact);
    }
    let some = fixed.iter().filter(|(_, dim)| !dim.is(0)).map(|(name, _)| name);
    let mut some = some.chain(open.iter().filter(|(_, bound)| bound.hi > 0).map(|(name, _)| name));
    if some.any(|name| is_unnamed(graph, name)) {
        forget_zeros(graph);
    }
    graph.bounds.extend(open);
    infer::run(graph)
}

/// Whether a symbol is the name that an argument's axis gets which has none.
fn is_unnamed(graph: &Graph, symbol: &str) -> bool {
    let input = symbol.rsplit_once('.').and_then(|(input, _)| graph.find(input));
    input.is_some_and(|id| graph.inputs().contains(&id))
}

/// Extents of 0 that the model declares of what it computes are not believed. An exporter that writes 0 for an argument's extent
/// because it does not know it writes what follows from that too, and here such an extent has been given another value.
fn forget_zeros(graph: &mut Graph) {
    let mut unknown = Vec::new();
    for (id, value) in graph.values() {
        let computed = !graph.inputs().contains(&id) && graph.constant(id).is_none();
        if let Some(fact) = value.fact.as_ref().filter(|f| computed && f.shape.iter().any(|d| d.is(0))) {
            let dim = |(axis, d): (usize, &Dim)| match d.is(0) {
                true => Dim::symbol(&format!("{}.{axis}", value.name)),
                false => d.clone(),
            };
            unknown.push((id, Fact::new(fact.dtype, fact.shape.iter().enumerate().map(dim).collect())));
        }
    }
    for (id, fact) in unknown {
        graph.set_fact(id, fact);
    }
}

/// The symbols of the graph's arguments, in order of first appearance.
pub fn symbols(graph: &Graph) -> Vec<Arc<str>> {
    let mut out: Vec<Arc<str>> = Vec::new();
    for id in graph.inputs() {
        for symbol in graph.value(*id).fact.iter().flat_map(|f| f.shape.iter()).flat_map(Dim::symbols) {
            if !out.contains(&symbol) {
                out.push(symbol);
            }
        }
    }
    out
}

/// An error that names every symbol with neither a value nor bounds.
pub fn check_bound(graph: &Graph) -> Result<()> {
    let unbound: Vec<_> = symbols(graph).into_iter().filter(|s| !graph.bounds.contains_key(s)).collect();
    match unbound.first() {
        None => Ok(()),
        Some(first) => Err(Error::unsupported(format!("dimensions have no value: {}", unbound.join(", ")))
            .hint(format!("bind them, for instance with --dim {first}=1"))),
    }
}

fn resolve(graph: &Graph, name: &str) -> Result<Arc<str>> {
    let symbols = symbols(graph);
    if let Some(symbol) = symbols.iter().find(|s| ***s == *name) {
        return Ok(symbol.clone());
    }
    // A named axis may be told by its place as well.
    if let Some((input, axis)) = name.rsplit_once('.')
        && let Some(id) = graph.find(input).filter(|id| graph.inputs().contains(id))
        && let (Some(fact), Ok(axis)) = (&graph.value(id).fact, axis.parse::<usize>())
        && let Some(dim) = fact.shape.get(axis)
    {
        match &dim.symbols()[..] {
            [symbol] if *dim == Dim::symbol(symbol) => return Ok(symbol.clone()),
            _ => bail_invalid!("axis {axis} of input '{input}' is {dim}, not a dimension to bind"),
        }
    }
    let known = if symbols.is_empty() { "none".to_owned() } else { symbols.join(", ") };
    Err(Error::invalid(format!("the model has no dimension '{name}'"))
        .hint(format!("its dimensions: {known}")))
}

#[cfg(test)]
mod tests {
    use kiln_ir::{DType, ErrorKind};

    use crate::rules::testing::Build;

    use super::*;

    fn graph() -> Graph {
        let dims = [Dim::symbol("batch"), Dim::symbol("seq"), Dim::symbol("x.2"), Dim::Const(4)];
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", Fact::new(DType::F32, dims.into_iter().collect())).unwrap();
        graph.add_output(x);
        graph
    }

    fn bind(dims: &[&str]) -> Result<(String, Graph)> {
        let bindings = dims.iter().map(|d| d.parse()).collect::<Result<Vec<DimBinding>>>()?;
        let mut graph = graph();
        run(&mut graph, &bindings)?;
        let fact = graph.value(graph.inputs()[0]).fact.clone().unwrap();
        Ok((fact.shape.to_string(), graph))
    }

    #[test]
    fn values_and_bounds() {
        let (shape, graph) = bind(&["batch=2", "seq=1..512", "x.2=7"]).unwrap();
        assert_eq!(shape, "[2, seq, 7, 4]");
        assert_eq!(graph.bounds.get("seq"), Some(&(1, 512).into()));
        assert!(check_bound(&graph).is_ok());
        // A named axis by its place; the same value twice.
        assert_eq!(bind(&["x.0=3", "batch=3", "seq=1", "x.2=1"]).unwrap().0, "[3, 1, 1, 4]");
    }

    #[test]
    fn a_declared_zero_is_believed_where_the_argument_s_is() {
        let bound = |value: &str| {
            let mut graph = Build::new().input("x", &[1, 3]).node("Relu", &["x"], "y").0;
            let (x, y) = (graph.inputs()[0], graph.find("y").unwrap());
            graph.set_fact(
                x,
                Fact::new(DType::F32, [Dim::symbol("x.0"), Dim::Const(3)].into_iter().collect()),
            );
            graph.set_fact(y, Fact::new(DType::F32, Shape::of(&[0, 3])));
            run(&mut graph, &[format!("x.0={value}").parse().unwrap()])?;
            Ok::<_, Error>(graph.value(y).fact.as_ref().unwrap().shape.to_string())
        };
        assert_eq!(bound("0").unwrap(), "[0, 3]");
        assert_eq!(bound("2").unwrap(), "[2, 3]");
        assert_eq!(bound("1..4").unwrap(), r#"[$"x.0", 3]"#);
    }

    #[test]
    fn what_is_left_open_is_named() {
        let (_, graph) = bind(&["seq=3"]).unwrap();
        let error = check_bound(&graph).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.to_string().contains("batch, x.2") && error.hint.contains("--dim batch=1"), "{error}");
    }

    #[test]
    fn bindings_that_make_no_sense() {
        let text = |dims: &[&str]| bind(dims).map(|_| ()).unwrap_err().to_string();
        let unknown = text(&["length=3"]);
        assert!(
            unknown.contains("no dimension 'length'") && unknown.contains("batch, seq, x.2"),
            "{unknown}"
        );
        assert!(text(&["batch=2", "batch=3"]).contains("bound twice"));
        assert!(text(&["batch=2", "x.0=1..3"]).contains("bound twice"));
        assert!(text(&["x.3=5"]).contains("axis 3 of input 'x' is 4"));
        for bad in [
            "batch",
            "batch=",
            "=3",
            "batch=x",
            "batch=1..",
            "batch=1..8:9",
            "batch=1..8:x",
            "batch=-1",
            "batch=5..2",
            "batch=99999999999999",
        ] {
            assert!(text(&[bad]).contains(bad), "{bad}");
        }
    }
}
