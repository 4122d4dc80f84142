//! Functions that make tensors: `random`, `zeros`, `ones`, `full`, `arange`, `eye`.

use kiln_ir::{DType, Tensor};
use kiln_tools::random;

use super::constant::{self, Scope};
use super::literal::Literal;
use crate::fault::{Fault, Result};
use crate::text::ast::{Call, Expr};

/// A function's name, its arguments in order, and what it makes.
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: &'static str,
    /// Names of its arguments; those behind the first `needed` may be left out.
    pub(crate) params: &'static [&'static str],
    needed: usize,
    /// What it makes.
    pub(crate) about: &'static str,
    make: fn(&Given<'_>) -> Result<Tensor>,
}

/// All of them.
pub(crate) const FUNCTIONS: &[Function] = &[
    Function {
        name: "arange",
        params: &["start", "stop", "step", "dtype"],
        needed: 1,
        about: "numbers from 0, or from start, up to stop",
        make: arange,
    },
    Function { name: "eye", params: &["n", "dtype"], needed: 1, about: "ones on the diagonal", make: eye },
    Function {
        name: "full",
        params: &["shape", "value", "dtype"],
        needed: 2,
        about: "the same number everywhere",
        make: full,
    },
    Function { name: "ones", params: &["shape", "dtype"], needed: 1, about: "ones", make: ones },
    Function {
        name: "random",
        params: &["shape", "dtype", "seed"],
        needed: 1,
        about: "about normal; those of `kiln run` for the same seed",
        make: make_random,
    },
    Function { name: "zeros", params: &["shape", "dtype"], needed: 1, about: "zeros", make: zeros },
];

/// Elements that a function may make.
const MOST_ELEMENTS: usize = 1 << 31;

/// The arguments of a call.
struct Given<'a> {
    call: &'a Call,
    function: &'a Function,
    values: Vec<Option<&'a Expr>>,
    scope: &'a dyn Scope,
    seed: u64,
}

/// The function of that name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

/// What a call of a function makes; `seed` is for random numbers without one.
pub(crate) fn call(function: &Function, call: &Call, scope: &dyn Scope, seed: u64) -> Result<Tensor> {
    let params = function.params;
    let mut values: Vec<Option<&Expr>> = vec![None; params.len()];
    if call.args.len() > params.len() {
        let span = call.args[params.len()].span.clone();
        return Err(Fault::at(span, format!("{} takes {}", function.name, params.join(", "))));
    }
    call.args.iter().zip(&mut values).for_each(|(arg, value)| *value = Some(arg));
    for named in &call.named {
        let Some(i) = params.iter().position(|p| *p == named.name) else {
            let fault =
                Fault::at(named.span.clone(), format!("{} has no argument '{}'", function.name, named.name));
            return Err(fault.hint(format!("it takes {}", params.join(", "))));
        };
        if values[i].replace(&named.value).is_some() {
            return Err(Fault::at(named.span.clone(), format!("'{}' is given twice", named.name)));
        }
    }
    if let Some(i) = values.iter().take(function.needed).position(Option::is_none) {
        return Err(Fault::at(call.name_span.clone(), format!("{} needs {}", function.name, params[i])));
    }
    (function.make)(&Given { call, function, values, scope, seed })
}

impl<'a> Given<'a> {
    fn get(&self, name: &str) -> Option<&'a Expr> {
        let i = self.function.params.iter().position(|p| *p == name)?;
        self.values[i]
    }

    fn dtype(&self) -> Result<DType> {
        self.get("dtype").map_or(Ok(DType::F32), constant::dtype)
    }

    fn shape(&self) -> Result<Vec<usize>> {
        let Some(expr) = self.get("shape") else { return Ok(Vec::new()) };
        let shape = constant::shape(expr, self.scope)?;
        let elements = shape.iter().try_fold(1usize, |n, e| n.checked_mul(*e));
        match elements.filter(|n| *n <= MOST_ELEMENTS) {
            Some(_) => Ok(shape),
            None => Err(Fault::at(
                expr.span.clone(),
                format!("a tensor made here has at most {MOST_ELEMENTS} elements"),
            )),
        }
    }

    fn filled(&self, value: &str) -> Result<Tensor> {
        let (shape, dtype) = (self.shape()?, self.dtype()?);
        let one = crate::text::parser::parse_expr(value)?;
        self.repeated(&one, &shape, dtype)
    }

    fn repeated(&self, value: &Expr, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let literal = Literal::of(value)?.filter(Literal::is_scalar);
        let wrong = || Fault::at(value.span.clone(), "a number is expected");
        let mut one = literal.ok_or_else(wrong)?;
        if value.span.end <= 1 {
            one.span = self.call.name_span.clone();
        }
        let one = one.tensor(dtype)?;
        let count = shape.iter().product::<usize>();
        let data = one.data.repeat(count);
        Ok(Tensor::new(dtype, shape.to_vec(), data.into())?)
    }
}

fn zeros(given: &Given<'_>) -> Result<Tensor> {
    given.filled("0")
}

fn ones(given: &Given<'_>) -> Result<Tensor> {
    given.filled("1")
}

fn full(given: &Given<'_>) -> Result<Tensor> {
    let (shape, dtype) = (given.shape()?, given.dtype()?);
    match given.get("value") {
        Some(value) => given.repeated(value, &shape, dtype),
        None => given.filled("0"),
    }
}

fn make_random(given: &Given<'_>) -> Result<Tensor> {
    let (shape, dtype) = (given.shape()?, given.dtype()?);
    let seed = match given.get("seed") {
        None => given.seed,
        Some(expr) => {
            let seed = constant::int(expr, given.scope);
            seed.ok_or_else(|| Fault::at(expr.span.clone(), "a seed is an integer"))? as u64
        }
    };
    random::tensor(dtype, &shape, seed, 0).map_err(|e| Fault::from(e).within(&given.call.name_span))
}

fn arange(given: &Given<'_>) -> Result<Tensor> {
    let dtype = given.dtype()?;
    let number = |name: &str| -> Result<Option<f64>> {
        let Some(expr) = given.get(name) else { return Ok(None) };
        let known = constant::int(expr, given.scope).map(|n| n as f64);
        let literal = Literal::of(expr)?.filter(Literal::is_scalar).and_then(|l| l.floats());
        let found = known.or_else(|| literal.and_then(|l| l.first().map(|v| f64::from(*v))));
        found.map(Some).ok_or_else(|| Fault::at(expr.span.clone(), "a number is expected"))
    };
    let (first, stop) = (number("start")?.unwrap_or(0.0), number("stop")?);
    let (start, stop) = stop.map_or((0.0, first), |stop| (first, stop));
    let step = number("step")?.unwrap_or(1.0);
    let count = ((stop - start) / step).ceil().max(0.0);
    if count.is_nan() || count > MOST_ELEMENTS as f64 {
        return Err(Fault::at(given.call.name_span.clone(), "there is no end to these numbers"));
    }
    let numbers = (0..count as usize).map(|i| start + i as f64 * step);
    let floats: Vec<f64> = numbers.collect();
    cast(&floats, dtype, given)
}

fn eye(given: &Given<'_>) -> Result<Tensor> {
    let dtype = given.dtype()?;
    let wrong = || Fault::at(given.call.name_span.clone(), "eye needs an extent from 0 to 32768");
    let n = given.get("n").and_then(|e| constant::int(e, given.scope)).filter(|n| (0..=32_768).contains(n));
    let n = n.ok_or_else(wrong)? as usize;
    let floats: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i / n.max(1) == i % n.max(1)))).collect();
    Ok(cast(&floats, dtype, given)?.reshaped(&[n, n])?)
}

/// Numbers as a vector of an element type.
fn cast(floats: &[f64], dtype: DType, given: &Given<'_>) -> Result<Tensor> {
    use kiln_ir::ops;
    let def = ops::find("", "Cast").ok_or_else(|| Fault::new("there is no Cast"))?;
    let mut attrs = kiln_ir::Attrs::from([("to".to_owned(), kiln_ir::Attr::Int(i64::from(dtype.to_onnx())))]);
    let mut proto = kiln_ir::NodeProto {
        attrs: &mut attrs,
        opset: kiln_ir::op::NEWEST_OPSET,
        inputs: &[true],
        outputs: 1,
    };
    let at = |e: kiln_ir::Error| Fault::from(e).within(&given.call.name_span);
    let op = (def.parse)(&mut proto).map_err(at)?;
    let from = Tensor::from_vec(&[floats.len()], floats.to_vec());
    let mut out = op.eval(&[Some(&from)]).map_err(at)?;
    Ok(out.swap_remove(0))
}
