//! A tree to a graph whose values have types: whatever is wrong is told with its place.

use std::ops::Range;
use std::sync::Arc;

use kiln_ir::graph::{Graph, ValueId};
use kiln_ir::op::{MICROSOFT, NEWEST_OPSET};
use kiln_ir::{DType, Fact, Op, OpDef, Shape, Tensor, ops};

use super::attributes;
use super::constant::{self, Scope};
use super::functions;
use super::literal::Literal;
use super::operand::{Operand, int_attribute};
use super::subscript;
use super::suggest;
use crate::fault::{Fault, Result};
use crate::text::ast::{Binary, Call, Expr, Kind, Named, Unary};

/// An expression as a graph.
#[derive(Debug)]
pub(crate) struct Built {
    /// The graph; its arguments are variables and tensors that were computed before.
    pub(crate) graph: Graph,
    /// Their values.
    pub(crate) inputs: Vec<Tensor>,
    /// The results, where they need no graph: a variable, a literal.
    pub(crate) ready: Option<Tensor>,
}

impl Built {
    /// Types of the results.
    pub(crate) fn types(&self) -> Vec<String> {
        match &self.ready {
            Some(tensor) => vec![tensor.ty().to_string()],
            None => {
                let fact = |id: &ValueId| self.graph.value(*id).fact.as_ref();
                let told = |id| fact(id).map_or_else(|| "?".to_owned(), |f| f.ty().to_string());
                self.graph.outputs().iter().map(told).collect()
            }
        }
    }
}

/// Integers of a variable that become part of the code, as shapes and axes must: so many at most.
const MOST_CONSTANTS: usize = 64;

/// Builds the graph of an expression with so many results.
pub(crate) fn build(expr: &Expr, results: usize, scope: &dyn Scope) -> Result<Built> {
    let mut graph = Graph::new("expression");
    graph.opsets.insert(String::new(), NEWEST_OPSET);
    let mut builder = Builder { graph, inputs: Vec::new(), scope, count: 0 };
    let outputs = builder.results(expr, results)?;
    if let [Operand::Literal(literal)] = &outputs[..] {
        let tensor = literal.tensor(literal.natural())?;
        return Ok(Built { graph: builder.graph, inputs: Vec::new(), ready: Some(tensor) });
    }
    let mut ready = None;
    for operand in &outputs {
        let Operand::Value(id) = operand else {
            return Err(Fault::at(expr.span.clone(), "there is no value here"));
        };
        let position = builder.graph.inputs().iter().position(|input| input == id);
        ready = position.map(|i| builder.inputs[i].clone());
        ready = ready.or_else(|| builder.graph.constant(*id).cloned());
        builder.graph.add_output(*id);
    }
    let ready = if outputs.len() == 1 { ready } else { None };
    Ok(Built { graph: builder.graph, inputs: builder.inputs, ready })
}

/// A graph in the making.
struct Builder<'s> {
    graph: Graph,
    inputs: Vec<Tensor>,
    scope: &'s dyn Scope,
    count: usize,
}

impl Builder<'_> {
    fn results(&mut self, expr: &Expr, count: usize) -> Result<Vec<Operand>> {
        match &expr.kind {
            Kind::Call(call) if count > 1 && functions::find(&call.name).is_none() => {
                let values = self.call(call, count, &expr.span)?;
                Ok(values.into_iter().map(Operand::Value).collect())
            }
            _ if count > 1 => Err(Fault::at(
                expr.span.clone(),
                format!("this gives one result, and {count} names wait for one each"),
            )),
            _ => Ok(vec![self.operand(expr)?]),
        }
    }

    /// An expression as an operand.
    fn operand(&mut self, expr: &Expr) -> Result<Operand> {
        if let Some(literal) = Literal::of(expr)? {
            return Ok(Operand::Literal(literal));
        }
        let at = |f: Fault| f.within(&expr.span);
        let value = match &expr.kind {
            Kind::Absent => return Ok(Operand::Absent),
            Kind::Name(name) => self.variable(name, &expr.span)?,
            Kind::Leaf(i) => {
                let tensor = self
                    .scope
                    .leaf(*i)
                    .ok_or_else(|| Fault::at(expr.span.clone(), "there is no such value"))?;
                self.input(&format!("value {i}"), tensor.clone()).map_err(at)?
            }
            Kind::Call(call) => {
                let values = self.call(call, 1, &expr.span)?;
                *values.first().ok_or_else(|| Fault::at(expr.span.clone(), "this gives no result"))?
            }
            Kind::Unary(op, inner) => {
                let inner = self.operand(inner)?;
                let is_bool = self.dtype(&inner).unwrap_or(DType::Bool) == DType::Bool;
                let name = match op {
                    Unary::Neg => "Neg",
                    Unary::Not if is_bool => "Not",
                    Unary::Not => "BitwiseNot",
                };
                self.apply(name, &[inner], &[], &expr.span)?
            }
            Kind::Binary(op, a, b) => {
                let (a, b) = (self.operand(a)?, self.operand(b)?);
                self.binary(*op, a, b, &expr.span)?
            }
            Kind::Index(inner, subscripts) => {
                let inner = self.operand(inner)?;
                let value = self.value(inner, None, &expr.span)?;
                subscript::take(self, value, subscripts, &expr.span)?
            }
            Kind::List(list) => self.stack(list, &expr.span)?,
            Kind::Text(_) => return Err(Fault::at(expr.span.clone(), "a text is no tensor")),
            Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) => {
                return Err(Fault::at(expr.span.clone(), "a number that is no literal"));
            }
        };
        Ok(Operand::Value(value))
    }

    fn variable(&mut self, name: &str, span: &Range<usize>) -> Result<ValueId> {
        let Some(tensor) = self.scope.variable(name) else {
            let near = suggest::hint(name, self.scope.names());
            let fault = Fault::at(span.clone(), format!("there is no variable '{name}'"));
            return Err(fault.hint(if near.is_empty() { ":list shows what there is".into() } else { near }));
        };
        if let Some(id) = self.graph.find(name) {
            return Ok(id);
        }
        // Shapes, axes and the like must be known before code is made.
        let is_constant =
            tensor.dtype == DType::I64 && tensor.shape.len() <= 1 && tensor.elements() <= MOST_CONSTANTS;
        if is_constant {
            return Ok(self.graph.add_const(name, tensor.clone())?);
        }
        self.input(name, tensor.clone())
    }

    fn input(&mut self, name: &str, tensor: Tensor) -> Result<ValueId> {
        if let Some(id) = self.graph.find(name) {
            return Ok(id);
        }
        let id = self.graph.add_input(name, Fact::new(tensor.dtype, Shape::of(&tensor.shape)))?;
        self.inputs.push(tensor);
        Ok(id)
    }

    /// A list of tensors is their stack along a new first axis.
    fn stack(&mut self, list: &[Expr], span: &Range<usize>) -> Result<ValueId> {
        let mut parts = Vec::new();
        let operands: Vec<Operand> = list.iter().map(|e| self.operand(e)).collect::<Result<_>>()?;
        let dtype =
            operands.iter().find_map(|o| if let Operand::Value(_) = o { self.dtype(o) } else { None });
        for (operand, expr) in operands.into_iter().zip(list) {
            let value = self.value(operand, dtype, &expr.span)?;
            let axes = self.constant(Tensor::from_vec(&[1], vec![0i64]))?;
            parts.push(Operand::Value(self.apply(
                "Unsqueeze",
                &[Operand::Value(value), axes],
                &[],
                &expr.span,
            )?));
        }
        self.apply("Concat", &parts, &[int_attribute("axis", 0, span)], span)
    }

    fn binary(&mut self, op: Binary, a: Operand, b: Operand, span: &Range<usize>) -> Result<ValueId> {
        let is_bool = self.dtype(&a).or(self.dtype(&b)) == Some(DType::Bool);
        let name = match op {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Pow => "Pow",
            Binary::MatMul => "MatMul",
            Binary::Equal => "Equal",
            Binary::NotEqual => {
                let equal = self.apply("Equal", &[a, b], &[], span)?;
                return self.apply("Not", &[Operand::Value(equal)], &[], span);
            }
            Binary::Less => "Less",
            Binary::LessOrEqual => "LessOrEqual",
            Binary::Greater => "Greater",
            Binary::GreaterOrEqual => "GreaterOrEqual",
            Binary::And => {
                if is_bool {
                    "And"
                } else {
                    "BitwiseAnd"
                }
            }
            Binary::Or => {
                if is_bool {
                    "Or"
                } else {
                    "BitwiseOr"
                }
            }
            Binary::Xor => {
                if is_bool {
                    "Xor"
                } else {
                    "BitwiseXor"
                }
            }
            Binary::Mod => {
                let is_float = |o: &Operand| match o {
                    Operand::Literal(literal) => literal.is_float(),
                    other => self.dtype(other).is_some_and(DType::is_float),
                };
                if !is_float(&a) && !is_float(&b) {
                    "Mod"
                } else {
                    // The sign is the divisor's, as Python has it.
                    let quotient = self.apply("Div", &[a.clone(), b.clone()], &[], span)?;
                    let whole =
                        Operand::Value(self.apply("Floor", &[Operand::Value(quotient)], &[], span)?);
                    let product = Operand::Value(self.apply("Mul", &[whole, b], &[], span)?);
                    return self.apply("Sub", &[a, product], &[], span);
                }
            }
        };
        self.apply(name, &[a, b], &[], span)
    }

    fn call(&mut self, call: &Call, outputs: usize, span: &Range<usize>) -> Result<Vec<ValueId>> {
        // The name of an element type converts.
        if let Some(dtype) = constant::dtype_of(&call.name)
            && let [arg] = &call.args[..]
        {
            return match self.operand(arg)? {
                Operand::Literal(literal) => Ok(vec![self.const_value(literal.tensor(dtype)?)?]),
                other => {
                    let to = int_attribute("to", i64::from(dtype.to_onnx()), span);
                    Ok(vec![self.apply("Cast", &[other], &[to], span)?])
                }
            };
        }
        let def = operator(call)?;
        let operands: Vec<Operand> = call.args.iter().map(|arg| self.operand(arg)).collect::<Result<_>>()?;
        self.node(def, &operands, &call.named, outputs, span)
    }

    /// An operator of one result.
    fn apply(
        &mut self,
        name: &str,
        operands: &[Operand],
        named: &[Named],
        span: &Range<usize>,
    ) -> Result<ValueId> {
        let def = ops::find("", name).ok_or_else(|| Fault::new(format!("there is no operator {name}")))?;
        let values = self.node(def, operands, named, 1, span)?;
        values.first().copied().ok_or_else(|| Fault::at(span.clone(), "this gives no result"))
    }

    fn node(
        &mut self,
        def: &'static OpDef,
        operands: &[Operand],
        named: &[Named],
        outputs: usize,
        span: &Range<usize>,
    ) -> Result<Vec<ValueId>> {
        let present: Vec<bool> = operands.iter().map(|o| !matches!(o, Operand::Absent)).collect();
        let op = attributes::read(def, named, &present, outputs, self.scope, span)?;
        let (tensors, facts) = self.typed(def, &*op, operands, span)?;
        if facts.len() < outputs {
            let message =
                format!("{} gives {} results, and {outputs} names wait for one each", def.name, facts.len());
            return Err(Fault::at(span.clone(), message));
        }
        let mut inputs = Vec::with_capacity(operands.len());
        for (operand, tensor) in operands.iter().zip(tensors) {
            inputs.push(match (operand, tensor) {
                (Operand::Value(id), _) => Some(*id),
                (_, Some(tensor)) => Some(self.const_value(tensor)?),
                _ => None,
            });
        }
        self.count += 1;
        let name = format!("{}_{}", def.name, self.count);
        let names: Vec<String> = match outputs {
            1 => vec![name.clone()],
            n => (0..n).map(|i| format!("{name}.{i}")).collect(),
        };
        let id = self.graph.add_node(&name, Arc::from(op), inputs, &names)?;
        let values = self.graph.node(id).outputs.clone();
        values.iter().zip(facts).for_each(|(value, fact)| self.graph.set_fact(*value, fact));
        Ok(values)
    }

    /// Tensors for the literals among the operands, and types of the results: literals are what they look like if the
    /// operator takes that, else of the type of the first operand that has one, else all floats.
    fn typed(
        &self,
        def: &OpDef,
        op: &dyn Op,
        operands: &[Operand],
        span: &Range<usize>,
    ) -> Result<(Vec<Option<Tensor>>, Vec<Fact>)> {
        let of_values =
            operands.iter().filter(|o| matches!(o, Operand::Value(_))).filter_map(|o| self.dtype(o));
        let any_float = operands.iter().any(|o| matches!(o, Operand::Literal(l) if l.is_float()));
        let mut adopted: Vec<Option<DType>> = vec![None];
        for dtype in of_values.chain(any_float.then_some(DType::F32)) {
            if !adopted.contains(&Some(dtype)) {
                adopted.push(Some(dtype));
            }
        }
        let mut first: Option<Fault> = None;
        for adopted in adopted {
            let tensor = |o: &Operand| match o {
                Operand::Literal(l) => l.tensor(adopted.unwrap_or(l.natural())).map(Some),
                _ => Ok(None),
            };
            let tensors: Vec<Option<Tensor>> = match operands.iter().map(tensor).collect() {
                Ok(tensors) => tensors,
                Err(fault) => {
                    first.get_or_insert(fault);
                    continue;
                }
            };
            let of_literals: Vec<Option<Fact>> = tensors.iter().map(|t| t.as_ref().map(Fact::of)).collect();
            let facts = operands.iter().zip(&of_literals).map(|(operand, literal)| match operand {
                Operand::Value(id) => self.graph.value(*id).fact.as_ref(),
                _ => literal.as_ref(),
            });
            let facts: Vec<Option<&Fact>> = facts.collect();
            match op.infer(&facts) {
                Ok(facts) => return Ok((tensors, facts)),
                Err(error) => {
                    let fault = Fault::from(error.at("", def.name)).within(span);
                    first.get_or_insert(fault);
                }
            }
            if !operands.iter().any(|o| matches!(o, Operand::Literal(_))) {
                break;
            }
        }
        Err(first.unwrap_or_else(|| Fault::at(span.clone(), "this has no type")))
    }

    /// An operand as a value; literals get a type.
    fn value(&mut self, operand: Operand, dtype: Option<DType>, span: &Range<usize>) -> Result<ValueId> {
        match operand {
            Operand::Value(id) => Ok(id),
            Operand::Literal(literal) => {
                let tensor = literal.tensor(dtype.unwrap_or(literal.natural()))?;
                self.const_value(tensor)
            }
            Operand::Absent => Err(Fault::at(span.clone(), "there is no value here")),
        }
    }

    fn constant(&mut self, tensor: Tensor) -> Result<Operand> {
        Ok(Operand::Value(self.const_value(tensor)?))
    }

    fn const_value(&mut self, tensor: Tensor) -> Result<ValueId> {
        self.count += 1;
        Ok(self.graph.add_const(&format!("literal {}", self.count), tensor)?)
    }

    fn dtype(&self, operand: &Operand) -> Option<DType> {
        match operand {
            Operand::Value(id) => self.graph.value(*id).fact.as_ref().map(|f| f.dtype),
            Operand::Literal(literal) => Some(literal.natural()),
            Operand::Absent => None,
        }
    }
}

impl subscript::Values for Builder<'_> {
    fn scope(&self) -> &dyn Scope {
        self.scope
    }

    fn shape(&self, id: ValueId) -> Shape {
        self.graph.value(id).fact.as_ref().map(|f| f.shape.clone()).unwrap_or_default()
    }

    fn operand(&mut self, expr: &Expr) -> Result<Operand> {
        Self::operand(self, expr)
    }

    fn constant(&mut self, tensor: Tensor) -> Result<Operand> {
        Self::constant(self, tensor)
    }

    fn apply(
        &mut self,
        name: &str,
        operands: &[Operand],
        named: &[Named],
        span: &Range<usize>,
    ) -> Result<ValueId> {
        Self::apply(self, name, operands, named, span)
    }
}

/// The operator of a call: of the default domain, or of `com.microsoft`, whose name may be left out.
fn operator(call: &Call) -> Result<&'static OpDef> {
    let found = match call.name.rsplit_once('.') {
        Some((domain, name)) => ops::find(domain, name),
        None => ops::find("", &call.name).or_else(|| ops::find(MICROSOFT, &call.name)),
    };
    found.ok_or_else(|| {
        let names = ops::OPS.iter().map(|def| def.name).chain(functions::FUNCTIONS.iter().map(|f| f.name));
        let near = suggest::hint(&call.name, names);
        let hint = if near.is_empty() { ":help operators lists them".to_owned() } else { near };
        Fault::at(call.name_span.clone(), format!("there is no operator, function or model '{}'", call.name))
            .hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::text::parser::parse_expr;

    struct Variables(BTreeMap<&'static str, Tensor>);

    impl Scope for Variables {
        fn variable(&self, name: &str) -> Option<&Tensor> {
            self.0.get(name)
        }
        fn leaf(&self, _: usize) -> Option<&Tensor> {
            None
        }
        fn names(&self) -> Vec<&str> {
            self.0.keys().copied().collect()
        }
    }

    fn scope() -> Variables {
        let zeros = |dtype, shape: &[usize]| Tensor::zeros(dtype, shape);
        Variables(BTreeMap::from([
            ("x", Tensor::from_vec(&[2, 3, 4], (0..24).map(|v| v as f32).collect())),
            ("h", zeros(DType::F16, &[4])),
            ("i", zeros(DType::I32, &[3])),
            ("m", zeros(DType::Bool, &[3])),
            ("s", Tensor::from_vec(&[2], vec![4i64, 6])),
        ]))
    }

    /// The type, or the mistake with its place.
    fn of(text: &str) -> String {
        let built = parse_expr(text).and_then(|e| build(&e, 1, &scope()));
        match built {
            Ok(built) => built.types().join(" "),
            Err(fault) => format!("{:?} {fault}", fault.span.clone().unwrap_or_default()),
        }
    }

    /// What the interpreter makes of it.
    fn run(text: &str) -> Tensor {
        let built = build(&parse_expr(text).unwrap(), 1, &scope()).unwrap();
        built
            .ready
            .clone()
            .unwrap_or_else(|| kiln_ir::eval::graph::run(&built.graph, &built.inputs).unwrap().swap_remove(0))
    }

    #[test]
    fn literals_take_the_type_of_what_they_meet() {
        for (text, ty) in [
            ("x + 1", "f32[2, 3, 4]"),
            ("2 * h", "f16[4]"),
            ("i % 2 == 0", "bool[3]"),
            ("1 + 2.5", "f32[]"),
            ("Clip(x, 0, 6)", "f32[2, 3, 4]"),
            ("Pow(x, 2)", "f32[2, 3, 4]"),
            ("Reshape(x, [4, -1])", "f32[4, 6]"),
            ("Reshape(x, s)", "f32[4, 6]"),
            ("Gather(x, [0, 1, 1], axis=2)", "f32[2, 3, 3]"),
            ("MatMul([[1.0, -2.0]], [[3.0], [4.0]])", "f32[1, 1]"),
            ("Where(m, 1, i)", "i32[3]"),
            ("not m or i > 0", "bool[3]"),
            ("i8([1, -2])", "i8[2]"),
            ("f16(x)", "f16[2, 3, 4]"),
            ("LeakyRelu(x, alpha=1)", "f32[2, 3, 4]"),
            ("Cast(x, to=\"i64\")", "i64[2, 3, 4]"),
            ("Cast(x, to=float16)", "f16[2, 3, 4]"),
            ("[h, h + 1]", "f16[2, 4]"),
            ("Gelu(x)", "f32[2, 3, 4]"),
        ] {
            assert_eq!(of(text), ty, "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_where_they_are() {
        for (text, part) in [
            ("Rleu(x)", "0..4 there is no operator, function or model 'Rleu'; did you mean 'Relu'?"),
            ("Relu(y)", "5..6 there is no variable 'y'"),
            ("1 + MatMul(x, h)", "4..16 "),
            ("Softmax(x, axes=1)", "11..15 Softmax has no attribute 'axes'; did you mean 'axis'?"),
            ("Softmax(x, axis=9)", "0..18 "),
            ("LeakyRelu(x, alpha=\"a\")", "19..22 "),
            ("Relu()", "0..6 "),
            ("x + \"a\"", "4..7 a text is no tensor"),
        ] {
            assert!(of(text).starts_with(part), "{text}: {}", of(text));
        }
    }

    /// Positions of the elements that are taken from 0 to 23 in shape [2, 3, 4], as NumPy gives them.
    #[test]
    fn slices_mean_what_python_says() {
        let floats = |list: &[i32]| list.iter().map(|v| *v as f32).collect::<Vec<f32>>();
        for (text, shape, values) in [
            ("x[1, 2, 3]", &[][..], &[23][..]),
            ("x[-1, 0]", &[4], &[12, 13, 14, 15]),
            ("x[0, 0, -3:]", &[3], &[1, 2, 3]),
            ("x[0, ::-1, 0]", &[3], &[8, 4, 0]),
            ("x[..., 0]", &[2, 3], &[0, 4, 8, 12, 16, 20]),
            ("x[0, 1:99, 1:3]", &[2, 2], &[5, 6, 9, 10]),
            ("x[0, 2:0:-1, 3]", &[2], &[11, 7]),
            ("x[1, none, 0, :2]", &[1, 2], &[12, 13]),
            ("x[0, 3:, 0]", &[0], &[]),
            ("x[1, [2, 0], 0]", &[2], &[20, 12]),
            ("x[0, 1][::2]", &[2], &[4, 6]),
        ] {
            let found = run(text);
            assert_eq!(
                (&*found.shape, found.as_slice::<f32>().unwrap().to_vec()),
                (shape, floats(values)),
                "{text}"
            );
        }
        for (text, part) in [
            ("x[2]", "2..3 index 2 is outside"),
            ("x[0, 0, 0, 0]", "0..13 "),
            ("x[..., ...]", "0..11 "),
            ("x[::0]", "4..5 "),
        ] {
            assert!(of(text).starts_with(part), "{text}: {}", of(text));
        }
    }

    #[test]
    fn remainders_are_pythons() {
        let found = run("[5.5, -5.5, 5.5] % [2.0, 2.0, -2.0]");
        assert_eq!(found.to_f64s().unwrap(), [1.5, 0.5, -0.5]);
    }
}
