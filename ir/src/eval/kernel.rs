//! Interpreter of the Kernel IR.
//!
//! Buffers are dense and row-major whatever their place says: a place is about memory, not about meaning. The
//! accumulator of a window has its input's type; floats are summed in f64 and rounded once to the accumulator's
//! type, integers wrap in it.

use super::code::{Code, Compiler, Flat, Storage, for_each, put, shape};
use super::contract::{Contraction, contract};
use super::scalar::{self, cast};
use super::{Symbols, bind};
use crate::error::{Error, Result};
use crate::kernel::{
    Access, BinaryOp, Buffer, BufferId, BufferKind, Expr, Form, Kernel, Program, ReduceOp, Role, Scalar,
    Side, Store, WindowOp,
};
use crate::tensor::Tensor;
use crate::types::DType;

/// Runs a program; the results are in the order of `program.outputs`.
pub fn run(program: &Program, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    Machine::new(program, inputs)?.run(None)
}

/// Called with a kernel, a buffer that it has just written, and what is in that buffer.
pub type Observer<'a> = &'a mut dyn FnMut(&Kernel, &Buffer, &Tensor);

/// [`run`], showing every buffer after each kernel that writes to it.
pub fn run_with(program: &Program, inputs: &[Tensor], observer: Observer<'_>) -> Result<Vec<Tensor>> {
    Machine::new(program, inputs)?.run(Some(observer))
}

struct Machine<'a> {
    program: &'a Program,
    symbols: Symbols,
    memory: Vec<Storage>,
    /// By buffer: the last kernel that touches it.
    last_use: Vec<usize>,
}

impl<'a> Machine<'a> {
    fn new(program: &'a Program, inputs: &[Tensor]) -> Result<Self> {
        let declared: Vec<_> = program
            .inputs
            .iter()
            .map(|&id| (program.buffer(id).name.as_str(), &program.buffer(id).ty))
            .collect();
        let symbols = bind(&declared, inputs, &program.bounds)?;
        let mut memory = vec![Storage::Absent; program.buffers().len()];
        for (id, tensor) in program.inputs.iter().zip(inputs) {
            memory[id.0 as usize] = Storage::Shared(tensor.data.clone());
        }
        for (buffer, storage) in program.buffers().iter().zip(&mut memory) {
            if let BufferKind::Const(tensor) = &buffer.kind {
                *storage = Storage::Shared(tensor.data.clone());
            }
        }
        let mut last_use = vec![0; program.buffers().len()];
        for (k, kernel) in program.kernels().iter().enumerate() {
            kernel.form.each_buffer(&mut |id, _| last_use[id.0 as usize] = k);
        }
        for id in &program.outputs {
            last_use[id.0 as usize] = usize::MAX;
        }
        Ok(Self { program, symbols, memory, last_use })
    }

    fn run(mut self, mut observer: Option<Observer<'_>>) -> Result<Vec<Tensor>> {
        for (k, kernel) in self.program.kernels().iter().enumerate() {
            self.execute(kernel).map_err(|e| e.at(&kernel.name, kernel.form.name()))?;
            if let Some(observe) = &mut observer {
                for id in kernel.form.written() {
                    observe(kernel, self.program.buffer(id), &self.tensor(id)?);
                }
            }
            let (last_use, memory) = (&self.last_use, &mut self.memory);
            kernel.form.each_buffer(&mut |id, _| {
                if last_use[id.0 as usize] == k {
                    memory[id.0 as usize] = Storage::Absent;
                }
            });
        }
        self.program.outputs.iter().map(|&id| self.tensor(id)).collect()
    }

    fn tensor(&self, id: BufferId) -> Result<Tensor> {
        let ty = &self.program.buffer(id).ty;
        let data = match &self.memory[id.0 as usize] {
            Storage::Absent => return Err(self.unwritten(id)),
            Storage::Shared(bytes) => bytes.clone(),
            Storage::Owned(bytes) => bytes.clone().into(),
        };
        Tensor::new(ty.dtype, shape(&ty.shape, &self.symbols)?, data)
    }

    fn unwritten(&self, id: BufferId) -> Error {
        Error::internal(format!("buffer '{}' is read before it is written", self.program.buffer(id).name))
    }

    fn zeros(&self, id: BufferId) -> Result<Vec<u8>> {
        let ty = &self.program.buffer(id).ty;
        let elements = shape(&ty.shape, &self.symbols)?.iter().try_fold(1usize, |n, &e| n.checked_mul(e));
        let elements = elements.ok_or_else(|| Error::invalid(format!("{ty} does not fit in memory")))?;
        Ok(vec![0; ty.dtype.bytes_of(elements)])
    }

    fn execute(&mut self, kernel: &Kernel) -> Result<()> {
        if let Form::Extern { function, .. } = &kernel.form {
            return Err(Error::unsupported(format!(
                "the interpreter has no definition of helper '{function}'"
            )));
        }
        let outputs = kernel.form.written();
        let mut reads = Vec::new();
        kernel.form.each_buffer(&mut |id, write| reads.extend((!write).then_some(id)));
        for id in reads {
            if outputs.contains(&id) {
                let name = &self.program.buffer(id).name;
                return Err(Error::internal(format!("'{name}' is read and written at once")));
            }
            if matches!(self.memory[id.0 as usize], Storage::Absent) {
                return Err(self.unwritten(id));
            }
        }
        // Results are taken out of memory while they are written.
        let mut results = Vec::new();
        for &id in &outputs {
            let bytes = match std::mem::take(&mut self.memory[id.0 as usize]) {
                Storage::Absent => self.zeros(id)?,
                Storage::Owned(bytes) => bytes,
                Storage::Shared(_) => {
                    let name = &self.program.buffer(id).name;
                    return Err(Error::internal(format!("'{name}' is read only")));
                }
            };
            results.push((id, bytes));
        }
        let compiler = Compiler::new(self.program, kernel, &self.symbols)?;
        Run { compiler, memory: &self.memory, results: &mut results }.form(&kernel.form)?;
        for (id, bytes) in results {
            self.memory[id.0 as usize] = Storage::Owned(bytes);
        }
        Ok(())
    }
}

/// One kernel being executed.
struct Run<'a> {
    compiler: Compiler<'a>,
    memory: &'a [Storage],
    results: &'a mut [(BufferId, Vec<u8>)],
}

impl Run<'_> {
    fn form(&mut self, form: &Form) -> Result<()> {
        let parallel = self.loops(Role::Parallel);
        let reduced = self.loops(Role::Reduce);
        let extents = self.compiler.extents.clone();
        match form {
            Form::Map { stores } => {
                let compiled = stores.iter().map(|s| self.store(s, None)).collect::<Result<Vec<_>>>()?;
                let memory = self.memory;
                let mut iteration = vec![0; extents.len()];
                for_each(&parallel, &extents, &mut iteration, |iteration| {
                    for (to, value) in &compiled {
                        self.write(to, iteration, value.eval(iteration, 0, memory));
                    }
                });
                Ok(())
            }
            Form::Rearrange { from, to } => {
                let (from, to) = (self.compiler.access(from)?, self.target(to)?);
                if from.dtype != to.dtype {
                    return Err(Error::internal(format!("copies {} to {}", from.dtype, to.dtype)));
                }
                let memory = self.memory;
                let mut iteration = vec![0; extents.len()];
                for_each(&parallel, &extents, &mut iteration, |iteration| {
                    self.write(&to, iteration, from.load(iteration, memory));
                });
                Ok(())
            }
            Form::Contract { acc, lhs, rhs, store } => {
                let (lhs, rhs) = (self.compiler.access(lhs)?, self.compiler.access(rhs)?);
                self.contract(*acc, &lhs, &rhs, store, &parallel, &reduced)
            }
            Form::Window { op: WindowOp::Dot, input, weight, store } => {
                let weight =
                    weight.as_ref().ok_or_else(|| Error::internal("a window of products needs weights"))?;
                let (lhs, rhs) = (self.compiler.access(input)?, self.compiler.access(weight)?);
                self.contract(lhs.dtype, &lhs, &rhs, store, &parallel, &reduced)
            }
            Form::Window { op, input, store, .. } => {
                let op = if *op == WindowOp::Max { ReduceOp::Max } else { ReduceOp::Sum };
                self.reduce(op, &Expr::Load(input.clone()), store, &parallel, &reduced)
            }
            Form::Reduce { op, value, store } => self.reduce(*op, value, store, &parallel, &reduced),
            Form::Transform { left, right, from, store } => {
                self.transform([left, right], from, store, &parallel, &reduced)
            }
            Form::Extern { .. } => Ok(()),
        }
    }

    /// Sums in f64, rounded once.
    fn transform(
        &mut self,
        sides: [&Side; 2],
        from: &Access,
        store: &Store,
        parallel: &[usize],
        reduced: &[usize],
    ) -> Result<()> {
        let from = self.compiler.access(from)?;
        let to = self.place(&store.to)?;
        let value = self.compiler.expr(&store.value, Some(DType::F32))?;
        if from.dtype != DType::F32 || to.dtype != DType::F32 {
            return Err(Error::internal(format!("transforms {} to {}", from.dtype, to.dtype)));
        }
        let (left, right) = (sides[0].rows()?, sides[1].rows()?);
        let [i, k, j, l] = [sides[0].to, sides[0].over, sides[1].to, sides[1].over].map(|l| l.0 as usize);
        let extents = self.compiler.extents.clone();
        let memory = self.memory;
        let mut iteration = vec![0; extents.len()];
        for_each(parallel, &extents, &mut iteration, |iteration| {
            let mut sum = 0.0;
            for_each(reduced, &extents, iteration, |at| {
                let (a, b) = (left[at[i] as usize][at[k] as usize], right[at[j] as usize][at[l] as usize]);
                if a != 0.0 && b != 0.0 {
                    sum +=
                        f64::from(a) * f64::from(b) * f64::from(f32::from_bits(from.load(at, memory) as u32));
                }
            });
            let acc = u64::from((sum as f32).to_bits());
            self.write(&to, iteration, value.eval(iteration, acc, memory));
        });
        Ok(())
    }

    fn contract(
        &mut self,
        acc: DType,
        lhs: &Flat,
        rhs: &Flat,
        store: &Store,
        parallel: &[usize],
        reduced: &[usize],
    ) -> Result<()> {
        let (to, value) = self.store(store, Some(acc))?;
        let extents = self.compiler.extents.clone();
        let nest = Contraction { parallel, reduced, extents: &extents };
        let memory = self.memory;
        contract(&nest, acc, lhs, rhs, memory, |iteration, sum| {
            self.write(&to, iteration, value.eval(iteration, sum, memory));
        })
    }

    fn reduce(
        &mut self,
        op: ReduceOp,
        value: &Expr,
        store: &Store,
        parallel: &[usize],
        reduced: &[usize],
    ) -> Result<()> {
        let dtype = value.dtype(self.compiler.program, None)?;
        let value = self.compiler.expr(value, None)?;
        let index = matches!(op, ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. });
        let (to, epilogue) = self.store(store, Some(if index { DType::I64 } else { dtype }))?;
        // Float sums and products are carried in f64.
        let wide =
            if dtype.is_float() && matches!(op, ReduceOp::Sum | ReduceOp::Prod) { DType::F64 } else { dtype };
        let (widen, round) = (cast(dtype, wide)?, cast(wide, dtype)?);
        let combine = match op {
            ReduceOp::Sum => scalar::binary(BinaryOp::Add, wide)?,
            ReduceOp::Prod => scalar::binary(BinaryOp::Mul, wide)?,
            ReduceOp::Max => scalar::binary(BinaryOp::Max, wide)?,
            ReduceOp::Min => scalar::binary(BinaryOp::Min, wide)?,
            ReduceOp::ArgMax { last: true } | ReduceOp::ArgMin { last: true } => {
                scalar::binary(BinaryOp::Le, wide)?
            }
            ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. } => scalar::binary(BinaryOp::Lt, wide)?,
        };
        let start = identity(op, wide);
        let counter = match reduced {
            [l] => *l,
            _ if index => return Err(Error::internal("an arg-reduction has exactly one reduced loop")),
            _ => 0,
        };
        let extents = self.compiler.extents.clone();
        let memory = self.memory;
        let mut iteration = vec![0; extents.len()];
        for_each(parallel, &extents, &mut iteration, |iteration| {
            let (mut acc, mut best) = (start, None);
            for_each(reduced, &extents, iteration, |iteration| {
                let v = widen(value.eval(iteration, 0, memory));
                if !index {
                    acc = combine(acc, v);
                    return;
                }
                let better = best.is_none_or(|(_, old)| match op {
                    ReduceOp::ArgMin { .. } => combine(v, old) != 0,
                    _ => combine(old, v) != 0,
                });
                if better {
                    best = Some((iteration[counter] as u64, v));
                }
            });
            let acc = if index { best.map_or(0, |b| b.0) } else { round(acc) };
            self.write(&to, iteration, epilogue.eval(iteration, acc, memory));
        });
        Ok(())
    }

    fn loops(&self, role: Role) -> Vec<usize> {
        self.compiler.kernel.loops_of(role).into_iter().map(|l| l.0 as usize).collect()
    }

    fn store(&self, store: &Store, acc: Option<DType>) -> Result<(Flat, Code)> {
        let to = self.target(&store.to)?;
        let dtype = store.value.dtype(self.compiler.program, acc)?;
        if dtype != to.dtype {
            return Err(Error::internal(format!("stores {dtype} to {}", to.dtype)));
        }
        Ok((to, self.compiler.expr(&store.value, acc)?))
    }

    fn target(&self, to: &Access) -> Result<Flat> {
        if to.otherwise.is_some() {
            return Err(Error::internal("a store has no padding value"));
        }
        self.place(to)
    }

    /// Where results go; outside of a clipped buffer nothing is written.
    fn place(&self, to: &Access) -> Result<Flat> {
        let mut flat = self.compiler.access(to)?;
        // From here on the position among the kernel's results.
        flat.buffer = self.results.iter().position(|(id, _)| *id == to.buffer).unwrap_or_default();
        Ok(flat)
    }

    fn write(&mut self, to: &Flat, iteration: &[i64], value: u64) {
        if let Some(i) = to.locate(iteration, self.memory) {
            put(&mut self.results[to.buffer].1, to.dtype.bits(), i, value);
        }
    }
}

/// The bits that a reduction starts from.
fn identity(op: ReduceOp, dtype: DType) -> u64 {
    let (bits, signed) = (dtype.bits() as u32, dtype.is_signed_int());
    let all = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    match op {
        ReduceOp::Prod => Scalar::of(dtype, 1.0).bits,
        ReduceOp::Max if dtype.is_float() => Scalar::of(dtype, f64::NEG_INFINITY).bits,
        ReduceOp::Max if signed => 1 << (bits - 1),
        ReduceOp::Min if dtype.is_float() => Scalar::of(dtype, f64::INFINITY).bits,
        ReduceOp::Min if signed => all >> 1,
        ReduceOp::Min if dtype == DType::Bool => 1,
        ReduceOp::Min => all,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;
    use crate::kernel::{Affine, Index, Loop, LoopId, UnaryOp};
    use crate::types::{Shape, TensorType};

    /// A program whose buffers are inputs until the last, which is the output.
    fn program(buffers: &[(DType, &[usize])], loops: &[(i64, Role)], form: Form) -> Program {
        let mut p = Program::default();
        for (i, (dtype, shape)) in buffers.iter().enumerate() {
            let kind = if i + 1 == buffers.len() { BufferKind::Output } else { BufferKind::Input };
            let id = p.add_buffer(&format!("b{i}"), TensorType::new(*dtype, Shape::of(shape)), kind.clone());
            if kind == BufferKind::Output { p.outputs.push(id) } else { p.inputs.push(id) }
        }
        let loop_ = |(i, (extent, role)): (usize, &(i64, Role))| Loop {
            name: format!("l{i}"),
            extent: Dim::Const(*extent),
            role: *role,
        };
        let loops = loops.iter().enumerate().map(loop_).collect();
        p.push_kernel(Kernel { name: "k".into(), nodes: vec![], loops, form });
        p
    }

    fn at(buffer: u32, index: &[Affine]) -> Access {
        Access::new(BufferId(buffer), index.iter().cloned().map(Index::from).collect())
    }

    fn l(i: u16) -> Affine {
        Affine::of(LoopId(i))
    }

    fn padded(mut access: Access, value: Scalar) -> Access {
        access.otherwise = Some(value);
        access
    }

    const P: Role = Role::Parallel;
    const R: Role = Role::Reduce;

    #[test]
    fn convolution_with_padding_stride_and_flipped_kernel() {
        // y[o, w] = max(sum over c, k of x[c, 2w + k - 1] * f[o, c, 2 - k], 0.5)
        let input = at(0, &[l(2), l(3).plus(LoopId(1), 2i64).shifted(-1i64)]);
        let flipped = Affine::constant(2i64).plus(LoopId(3), -1i64);
        let form = Form::Contract {
            acc: DType::F32,
            lhs: padded(input, Scalar::f32(1.0)),
            rhs: at(1, &[l(0), l(2), flipped]),
            store: Store {
                to: at(2, &[l(0), l(1)]),
                value: Expr::binary(BinaryOp::Max, Expr::Acc, Expr::f32(0.5)),
            },
        };
        let shapes: [(DType, &[usize]); 3] =
            [(DType::F32, &[2, 5]), (DType::F32, &[3, 2, 3]), (DType::F32, &[3, 3])];
        let p = program(&shapes, &[(3, P), (3, P), (2, R), (3, R)], form);
        let x: Vec<f32> = (0..10).map(|i| i as f32 - 4.0).collect();
        let f: Vec<f32> = (0..18).map(|i| (i * 7 % 5) as f32 - 2.0).collect();
        let mut expected = Vec::new();
        for o in 0..3 {
            for w in 0..3 {
                let mut sum = 0.0f32;
                for c in 0..2 {
                    for k in 0..3usize {
                        let i = (2 * w + k).wrapping_sub(1);
                        let v = if i < 5 { x[c * 5 + i] } else { 1.0 };
                        sum += v * f[o * 6 + c * 3 + 2 - k];
                    }
                }
                expected.push(sum.max(0.5));
            }
        }
        let out = run(&p, &[Tensor::from_vec(&[2, 5], x), Tensor::from_vec(&[3, 2, 3], f)]).unwrap();
        assert_eq!(out[0].as_slice::<f32>().unwrap().to_vec(), expected);
    }

    #[test]
    fn integer_products_are_widened_and_wrap() {
        let form = Form::Contract {
            acc: DType::I32,
            lhs: at(0, &[l(1)]),
            rhs: at(1, &[l(1), l(0)]),
            store: Store { to: at(2, &[l(0)]), value: Expr::Acc },
        };
        let shapes: [(DType, &[usize]); 3] = [(DType::U8, &[2]), (DType::I8, &[2, 2]), (DType::I32, &[2])];
        let p = program(&shapes, &[(2, P), (2, R)], form);
        let out = run(
            &p,
            &[Tensor::from_vec(&[2], vec![255u8, 2]), Tensor::from_vec(&[2, 2], vec![-128i8, 1, 3, 4])],
        );
        assert_eq!(out.unwrap()[0].to_i64s().unwrap(), [-255 * 128 + 6, 255 + 8]);
    }

    #[test]
    fn gathers_wrap_once_and_clamp() {
        let from = Access::new(BufferId(0), vec![Index::Gathered(Box::new(at(1, &[l(0)])))]);
        let form = Form::Rearrange { from, to: at(2, &[l(0)]) };
        let shapes: [(DType, &[usize]); 3] = [(DType::I32, &[3]), (DType::I64, &[5]), (DType::I32, &[5])];
        let p = program(&shapes, &[(5, P)], form);
        let out = run(
            &p,
            &[
                Tensor::from_vec(&[3], vec![10i32, 20, 30]),
                Tensor::from_vec(&[5], vec![0i64, -1, 2, 9, i64::MIN]),
            ],
        );
        assert_eq!(out.unwrap()[0].to_i64s().unwrap(), [10, 30, 30, 30, 10]);
    }

    #[test]
    fn reductions_and_their_empty_cases() {
        let reduce = |op, n: i64, dtype| {
            let form = Form::Reduce {
                op,
                value: Expr::Load(at(0, &[l(0)])),
                store: Store { to: at(1, &[]), value: Expr::Acc },
            };
            let p = program(&[(DType::F32, &[n as usize]), (dtype, &[])], &[(n, R)], form);
            let x = [3.0f32, 7.0, 7.0, -1.0][..n as usize].to_vec();
            run(&p, &[Tensor::from_vec(&[n as usize], x)]).unwrap()[0].to_f64s().unwrap()[0]
        };
        assert_eq!(reduce(ReduceOp::Sum, 4, DType::F32), 16.0);
        assert_eq!(reduce(ReduceOp::Prod, 0, DType::F32), 1.0);
        assert_eq!(reduce(ReduceOp::Max, 0, DType::F32), f64::NEG_INFINITY);
        assert_eq!(reduce(ReduceOp::Min, 4, DType::F32), -1.0);
        assert_eq!(reduce(ReduceOp::ArgMax { last: false }, 4, DType::I64), 1.0);
        assert_eq!(reduce(ReduceOp::ArgMax { last: true }, 4, DType::I64), 2.0);
        assert_eq!(reduce(ReduceOp::ArgMin { last: false }, 4, DType::I64), 3.0);
    }

    #[test]
    fn broken_kernels_are_errors() {
        let copy = |from, to| Form::Rearrange { from, to };
        let shapes: [(DType, &[usize]); 2] = [(DType::F32, &[3]), (DType::F32, &[3])];
        let x = Tensor::zeros(DType::F32, &[3]);
        let message =
            |form| run(&program(&shapes, &[(3, P)], form), std::slice::from_ref(&x)).unwrap_err().to_string();
        assert!(message(copy(at(0, &[l(0).shifted(1i64)]), at(1, &[l(0)]))).contains("leaves 'b0'"));
        assert!(message(copy(at(1, &[l(0)]), at(1, &[l(0)]))).contains("at once"));
        assert!(message(copy(at(1, &[l(0)]), at(0, &[l(0)]))).contains("before it is written"));
        let not = Expr::unary(UnaryOp::Not, Expr::Load(at(0, &[l(0)])));
        let form = Form::Map { stores: vec![Store { to: at(1, &[l(0)]), value: not }] };
        assert!(message(form).contains("Not of f32"));
    }

    #[test]
    fn symbols_are_bound_by_the_arguments() {
        let n = Dim::symbol("n");
        let mut p = Program::default();
        let ty = TensorType::new(DType::F32, Shape(vec![n.clone()]));
        let (x, y) =
            (p.add_buffer("x", ty.clone(), BufferKind::Input), p.add_buffer("y", ty, BufferKind::Output));
        (p.inputs, p.outputs) = (vec![x], vec![y]);
        p.bounds.insert("n".into(), (1, 4));
        let loops = vec![Loop { name: "i".into(), extent: n.clone(), role: P }];
        // Reversed: x[n - 1 - i].
        let index = Affine::constant(n - Dim::Const(1)).plus(LoopId(0), -1i64);
        let form = Form::Rearrange { from: at(0, &[index]), to: at(1, &[l(0)]) };
        p.push_kernel(Kernel { name: "k".into(), nodes: vec![], loops, form });
        let mut seen = Vec::new();
        let out = run_with(&p, &[Tensor::from_vec(&[3], vec![1f32, 2.0, 3.0])], &mut |k, b, t| {
            seen.push(format!("{} {} {:?}", k.name, b.name, t.shape));
        });
        assert_eq!(out.unwrap()[0].to_f64s().unwrap(), [3.0, 2.0, 1.0]);
        assert_eq!(seen, ["k y [3]"]);
        assert!(
            run(&p, &[Tensor::zeros(DType::F32, &[5])]).unwrap_err().to_string().contains("outside 1..4")
        );
    }
}
