//! Interpreter of the Kernel IR.
//!
//! Buffers are dense and row-major whatever their place says: a place is about memory, not about meaning. What the
//! forms compute stands in `forms`.

use super::code::{Flat, Gather, Line, Loops, Storage, get, put, shape, value};
use super::forms;
use super::level::{Level, Sink};
use super::scalar::cast;
use super::{Symbols, bind, check_assumed, count, of_kernel};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, Buffer, BufferId, BufferKind, Form, Index, Kernel, Program, regions};
use crate::tensor::{Tensor, row_major};
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
        check_assumed(&program.assumed, &symbols)?;
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
        // What steers regions and what loops touch is kept to the end.
        let steps = program.steps();
        for (_, first, last) in regions::loops(program.regions(), &steps) {
            for kernel in &program.kernels()[first..=last] {
                kernel.form.each_buffer(&mut |id, _| last_use[id.0 as usize] = usize::MAX);
            }
        }
        for id in program.outputs.iter().chain(&program.cells()) {
            last_use[id.0 as usize] = usize::MAX;
        }
        Ok(Self { program, symbols, memory, last_use })
    }

    fn run(self, observer: Option<Observer<'_>>) -> Result<Vec<Tensor>> {
        let steps = self.program.steps();
        let mut run = Run { machine: self, observer };
        regions::run(run.machine.program.regions(), &steps, &mut run)?;
        let machine = run.machine;
        machine.program.outputs.iter().map(|&id| machine.tensor(id)).collect()
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
        let outputs = kernel.form.written();
        let mut reads = Vec::new();
        kernel.form.each_buffer(&mut |id, write| reads.extend((!write).then_some(id)));
        for id in reads {
            if outputs.contains(&id) {
                let name = &self.program.buffer(id).name;
                return Err(Error::internal(format!("'{name}' is read and written at once")));
            }
            if matches!(self.memory[id.0 as usize], Storage::Absent) && !self.reads_nothing(kernel) {
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
        let loops = Loops::new(&kernel.loops, &self.symbols)?;
        let mut level = Logical {
            program: self.program,
            symbols: &self.symbols,
            loops: &loops,
            memory: &self.memory,
            results: Results(&mut results),
        };
        forms::run(&kernel.form, &loops, &mut level)?;
        for (id, bytes) in results {
            self.memory[id.0 as usize] = Storage::Owned(bytes);
        }
        Ok(())
    }
}

impl Machine<'_> {
    /// Whether a kernel goes over no element: of what a loop without a turn has not written none is there.
    fn reads_nothing(&self, kernel: &Kernel) -> bool {
        matches!(kernel.form, Form::Map { .. } | Form::Rearrange { .. })
            && kernel.loops.iter().any(|l| l.extent.eval(&self.symbols) == Some(0))
    }

    /// Gives sizes that a kernel has counted their values.
    fn count(&mut self, kernel: &Kernel) -> Result<()> {
        let written = kernel.form.written();
        for (name, cell) in self.program.counted.iter().filter(|(_, cell)| written.contains(cell)) {
            let Storage::Owned(bytes) = &self.memory[cell.0 as usize] else {
                return Err(self.unwritten(*cell));
            };
            let value = get(bytes, 64, 0) as i64;
            if self.symbols.get(name).is_some_and(|old| *old != value) {
                // A turn of a loop made these for the size that it had.
                for (buffer, storage) in self.program.buffers().iter().zip(&mut self.memory) {
                    if buffer.ty.shape.iter().any(|d| d.symbols().contains(name)) {
                        *storage = Storage::Absent;
                    }
                }
            }
            count(&mut self.symbols, &self.program.bounds, name, value)?;
            check_assumed(&self.program.assumed, &self.symbols)?;
        }
        Ok(())
    }
}

/// A run, kernel by kernel.
struct Run<'a, 'o> {
    machine: Machine<'a>,
    observer: Option<Observer<'o>>,
}

impl regions::Machine<BufferId> for Run<'_, '_> {
    type Stop = Error;

    fn kernel(&mut self, position: usize) -> Result<()> {
        let program = self.machine.program;
        let kernel = program.kernel(position);
        self.machine
            .execute(kernel)
            .map_err(|e| of_kernel(e, &kernel.name, kernel.form.name(), &kernel.nodes))?;
        if let Some(observe) = &mut self.observer {
            for id in kernel.form.written() {
                observe(kernel, program.buffer(id), &self.machine.tensor(id)?);
            }
        }
        self.machine.count(kernel)?;
        let (last_use, memory) = (&self.machine.last_use, &mut self.machine.memory);
        kernel.form.each_buffer(&mut |id, _| {
            if last_use[id.0 as usize] == position {
                memory[id.0 as usize] = Storage::Absent;
            }
        });
        Ok(())
    }

    fn read(&mut self, cell: &BufferId, _: usize) -> Result<i64> {
        let value = self.machine.tensor(*cell)?;
        match &value.data[..] {
            [byte] => Ok((*byte).into()),
            bytes => Ok(get(bytes, 64, 0) as i64),
        }
    }

    fn write(&mut self, cell: &BufferId, value: i64, _: usize) -> Result<()> {
        self.machine.memory[cell.0 as usize] = Storage::Owned(value.to_le_bytes().to_vec());
        Ok(())
    }

    fn size(&mut self, size: &Dim) -> Result<i64> {
        size.eval(&self.machine.symbols)
            .ok_or_else(|| Error::internal(format!("the size {size} is not known")))
    }
}

/// Accesses by logical index to whole buffers.
struct Logical<'a> {
    program: &'a Program,
    symbols: &'a Symbols,
    loops: &'a Loops,
    memory: &'a [Storage],
    results: Results<'a>,
}

/// Buffers that a kernel is writing.
struct Results<'a>(&'a mut [(BufferId, Vec<u8>)]);

impl Sink for Results<'_> {
    fn put(&mut self, to: &Flat, element: i64, _: &[i64], bits: u64) {
        put(&mut self.0[to.buffer].1, to.dtype.size() * 8, element as usize, bits);
    }
}

impl Level for Logical<'_> {
    type Access = Access;

    fn dtype(&self, access: &Access) -> DType {
        self.program.buffer(access.buffer).ty.dtype
    }

    fn load(&mut self, access: &Access) -> Result<Flat> {
        self.access(access)
    }

    fn store(&mut self, to: &Access, clipped: bool) -> Result<Flat> {
        if to.otherwise.is_some() && !clipped {
            return Err(Error::internal("a store has no padding value"));
        }
        let mut flat = self.access(to)?;
        // From here on the position among the kernel's results.
        flat.buffer = self.results.0.iter().position(|(id, _)| *id == to.buffer).unwrap_or_default();
        Ok(flat)
    }

    fn result(&mut self, access: &Access) -> Result<(Flat, usize)> {
        let ty = &self.program.buffer(access.buffer).ty;
        let elements = shape(&ty.shape, self.symbols)?.iter().product();
        Ok((self.access(access)?, ty.dtype.bytes_of(elements)))
    }

    fn size(&self, size: &Dim) -> Result<i64> {
        value(size, self.symbols)
    }

    fn parts(&mut self) -> (&[Storage], &mut dyn Sink) {
        (self.memory, &mut self.results)
    }
}

impl Logical<'_> {
    /// An access, after a check that it stays inside its buffer.
    fn access(&self, access: &Access) -> Result<Flat> {
        let buffer = self
            .program
            .buffers()
            .get(access.buffer.0 as usize)
            .ok_or_else(|| Error::internal(format!("buffer {} does not exist", access.buffer.0)))?;
        let shape = shape(&buffer.ty.shape, self.symbols)?;
        if shape.len() != access.index.len() {
            let n = access.index.len();
            return Err(Error::internal(format!(
                "'{}' of rank {} has {n} indices",
                buffer.name,
                shape.len()
            )));
        }
        if matches!(buffer.ty.dtype.size() * 8, 0 | 128) {
            return Err(Error::unsupported(format!(
                "elements of type {} are not supported by the interpreter",
                buffer.ty.dtype
            )));
        }
        let extents = &self.loops.extents;
        let mut flat = Flat {
            buffer: access.buffer.0 as usize,
            dtype: buffer.ty.dtype,
            element: Line { offset: 0, coefficients: vec![0; extents.len()] },
            panels: None,
            guards: Vec::new(),
            gathers: Vec::new(),
            otherwise: access.otherwise.map_or(0, |s| s.bits),
        };
        for (axis, (index, stride)) in access.index.iter().zip(row_major(&shape)).enumerate() {
            let (extent, stride) = (shape[axis] as i64, stride as i64);
            match index {
                Index::Affine(affine) => {
                    let line = self.line(affine)?;
                    flat.element.offset += line.offset * stride;
                    for (sum, c) in flat.element.coefficients.iter_mut().zip(&line.coefficients) {
                        *sum += c * stride;
                    }
                    let (lo, hi) = self.loops.range(&line);
                    if lo >= 0 && hi < extent || extents.contains(&0) {
                        continue;
                    }
                    if access.otherwise.is_none() {
                        return Err(Error::internal(format!(
                            "index {lo}..{hi} of axis {axis} leaves '{}' of shape {shape:?}",
                            buffer.name
                        )));
                    }
                    flat.guards.push((line, extent));
                }
                Index::Gathered(inner) => {
                    let index = Box::new(self.access(inner)?);
                    let to_i64 = cast(index.dtype, DType::I64)?;
                    flat.gathers.push(Gather { index, to_i64, extent, stride, known: false });
                }
            }
        }
        flat.check_indices(self.loops, self.memory)?;
        Ok(flat)
    }

    fn line(&self, affine: &Affine) -> Result<Line> {
        let coefficients = vec![0; self.loops.extents.len()];
        let mut line = Line { offset: value(&affine.offset, self.symbols)?, coefficients };
        for (l, c) in &affine.terms {
            let slot = line
                .coefficients
                .get_mut(l.0 as usize)
                .ok_or_else(|| Error::internal(format!("loop {} does not exist", l.0)))?;
            *slot += value(c, self.symbols)?;
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::dim::Dim;
    use crate::kernel::{BinaryOp, Expr, Form, Loop, LoopId, ReduceOp, Role, Scalar, Store, UnaryOp};
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
    fn gathers_wrap_once_and_refuse_what_is_outside() {
        let from = Access::new(BufferId(0), vec![Index::Gathered(Box::new(at(1, &[l(0)])))]);
        let form = Form::Rearrange { from, to: at(2, &[l(0)]) };
        let gather = |extent: usize, indices: &[i64]| {
            let n = indices.len();
            let shapes: [(DType, &[usize]); 3] =
                [(DType::I32, &[extent]), (DType::I64, &[n]), (DType::I32, &[n])];
            let p = program(&shapes, &[(n as i64, P)], form.clone());
            let x: Vec<i32> = [10, 20, 30][..extent].to_vec();
            run(&p, &[Tensor::from_vec(&[extent], x), Tensor::from_vec(&[n], indices.to_vec())])
        };
        assert_eq!(gather(3, &[0, -1, 2, -3]).unwrap()[0].to_i64s().unwrap(), [10, 30, 30, 10]);
        assert_eq!(gather(0, &[]).unwrap()[0].shape, [0]);
        for (extent, index) in [(3, 3), (3, -4), (3, i64::MIN), (3, i64::MAX), (0, 0)] {
            let error = gather(extent, &[0, index][usize::from(extent == 0)..]).unwrap_err();
            assert_eq!((error.kind, &*error.node), (ErrorKind::IndexOutOfRange, "k"), "{error}");
        }
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
        p.bounds.insert("n".into(), (1, 4).into());
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
