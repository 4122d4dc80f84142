//! Runs planned kernels in memory and beside the interpreter of plans: the vector generators' tests.
#![allow(unsafe_code)] // calls of emitted code

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, Function, InstBuilder, Signature};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use kiln_ir::kernel::plan::{
    FlatAccess, Guard, Plan, PlannedKernel, Port, Provider, Schedule, Storage, Tile, Weight,
};
use kiln_ir::kernel::{BinaryOp, Expr, Form, Loop, Role, Scalar};
use kiln_ir::{DType, Dim, Shape, Tensor, TensorType, eval};
use kiln_targets::call::Kernel;
use kiln_targets::encode::{Program as _, encode};
use kiln_targets::generic::clif::Clif;
use kiln_targets::isa::{Code, isa};
use kiln_targets::simd::Refusal;
use kiln_targets::{LhsAccess, Target};

use super::vector::Vectors;
use crate::schedule;

/// What a kernel reads and writes.
#[derive(Clone, Default)]
pub(super) struct Memory {
    pub(super) inputs: Vec<Vec<f32>>,
    pub(super) weights: Vec<f32>,
    pub(super) outputs: Vec<Vec<f32>>,
}

/// Elements around every buffer that must not be touched, respectively not be used.
const GUARD: usize = 32;
const UNTOUCHED: u32 = 0x7fab_cdef; // a NaN

/// The builders under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    CraneliftSse2,
    /// AVX without FMA.
    CraneliftAvx,
    CraneliftFma,
    /// Cranelift with FMA, tiles by lane as AArch64 does.
    CraneliftByLane,
    /// The encoder with 128 bits and instructions of two operands.
    Sse2,
    /// The encoder with 128 bits and AVX without FMA.
    Avx,
    /// The encoder with 128 bits, AVX and FMA.
    AvxFma,
    /// The encoder with 256 bits.
    Ymm,
    /// The encoder with 512 bits.
    Zmm,
}

const MACHINES: [Machine; 9] = [
    Machine::CraneliftSse2,
    Machine::CraneliftAvx,
    Machine::CraneliftFma,
    Machine::CraneliftByLane,
    Machine::Sse2,
    Machine::Avx,
    Machine::AvxFma,
    Machine::Ymm,
    Machine::Zmm,
];

impl Machine {
    pub(super) fn lanes(self) -> usize {
        match self {
            Self::Ymm => 8,
            Self::Zmm => 16,
            _ => 4,
        }
    }

    /// Whether registers are handed out by an encoder: a kernel may need too many.
    fn encoded(self) -> bool {
        matches!(self, Self::Sse2 | Self::Avx | Self::AvxFma | Self::Ymm | Self::Zmm)
    }

    /// Whether the processor that runs the tests has it.
    fn runs(self) -> bool {
        let native = kiln_targets::resolve("", "native", "").expect("this machine");
        self.target().features.iter().all(|f| native.features.contains(f))
    }

    /// Whether the registers are enough, which an encoder has to keep for the tiles of its target's table.
    fn has_tile(self, tile: &Tile) -> bool {
        let vectors = tile.nr / self.lanes() as u32;
        !self.encoded()
            || tile.mr == 1 && vectors <= 8
            || self
                .target()
                .f32_tiles
                .iter()
                .chain(self.target().short_tiles)
                .any(|(mr, nv)| tile.mr <= *mr && vectors <= *nv)
    }

    /// The kernel as it is planned for this machine.
    fn planned(self, kernel: &PlannedKernel) -> PlannedKernel {
        let mut kernel = kernel.clone();
        let vector_bytes = 4 * self.lanes() as u32;
        kernel.provider = match self.encoded() {
            true => Provider::Encoder { vector_bytes },
            false => Provider::Portable { vector_bytes },
        };
        if let (Schedule::Tile(tile), Form::Contract { lhs, .. }) = (&mut kernel.schedule, &kernel.form) {
            let innermost = tile.depth.last().map(|l| &lhs.strides[l.0 as usize]);
            tile.by_lane = self == Self::CraneliftByLane && innermost.is_some_and(|stride| stride.is(1));
        }
        kernel.shared = schedule::shared(&kernel, self.lanes() as u32);
        kernel
    }

    fn target(self) -> Target {
        let (level, features) = match self {
            Self::CraneliftSse2 | Self::Sse2 => ("sse2", ""),
            Self::CraneliftAvx | Self::Avx => ("avx", ""),
            Self::CraneliftFma | Self::CraneliftByLane | Self::AvxFma => ("avx", "+fma"),
            Self::Ymm => ("avx2", ""),
            Self::Zmm => ("avx512", ""),
        };
        kiln_targets::resolve("x86_64-unknown-linux-gnu", level, features).expect("a known level")
    }
}

/// An emitted kernel, and its code's bytes.
pub(super) struct Emitted {
    module: JITModule,
    run: Kernel<*const u8>,
}

impl Emitted {
    pub(super) fn new(kernel: &PlannedKernel, machine: Machine) -> Result<Self, Refusal> {
        Self::of(&machine.planned(kernel), machine)
    }

    /// The same of a kernel that is planned for the machine.
    fn of(kernel: &PlannedKernel, machine: Machine) -> Result<Self, Refusal> {
        let target = machine.target();
        let isa = isa(&target, Code::Jit, true).expect("consistent settings");
        let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
        let mut ctx = module.make_context();
        ctx.func.signature = signature();
        let id = module.declare_function("kernel", Linkage::Export, &ctx.func.signature).expect("a new name");
        if machine.encoded() {
            let bytes = encode(&target, &Vectors::new(kernel))?.expect("an encoder").code;
            module.define_function_bytes(id, 64, &bytes, &[]).expect("a declared function");
        } else {
            build(kernel, &target, &mut ctx.func, module.target_config())?;
            cranelift_codegen::verify_function(&ctx.func, module.isa()).expect("valid code");
            module.define_function(id, &mut ctx).expect("verified code");
        }
        module.finalize_definitions().expect("memory for code");
        let code = module.get_finalized_function(id);
        // SAFETY: the code was emitted with exactly this signature and convention.
        let run = unsafe { std::mem::transmute::<*const u8, Kernel<*const u8>>(code) };
        Ok(Self { module, run })
    }

    /// Runs iterations of the shared loop in the given ranges; the status.
    pub(super) fn call(&self, memory: &mut Memory, ranges: &[(i64, i64)]) -> usize {
        let guarded = |values: &[f32], shift: usize| -> (Vec<f32>, usize) {
            let mut all = vec![f32::from_bits(UNTOUCHED); values.len() + 2 * GUARD];
            // Off the natural alignment of vectors.
            let at = GUARD - shift;
            all[at..at + values.len()].copy_from_slice(values);
            (all, at)
        };
        let inputs: Vec<_> = memory.inputs.iter().map(|v| guarded(v, 1)).collect();
        let weights = guarded(&memory.weights, 3);
        let mut outputs: Vec<_> = memory.outputs.iter().map(|v| guarded(v, 2)).collect();
        let pointer = |(all, at): &(Vec<f32>, usize)| all[*at..].as_ptr().cast::<u8>();
        let input_table: Vec<_> = inputs.iter().map(pointer).collect();
        let output_table: Vec<_> =
            outputs.iter_mut().map(|(all, at)| all[*at..].as_mut_ptr().cast::<u8>().cast_const()).collect();
        let none: *const u8 = std::ptr::null();
        let mut frame = [
            none,
            pointer(&weights),
            input_table.as_ptr().cast(),
            output_table.as_ptr().cast(),
            // The status so far, and no places.
            none,
            none,
        ];
        for (begin, end) in ranges {
            // SAFETY: the frame's memory is as large as the kernel's loops and ranges say.
            unsafe { (self.run)(frame.as_mut_ptr(), *begin, *end) };
        }
        for ((all, at), out) in outputs.iter().zip(&mut memory.outputs) {
            let end = at + out.len();
            out.copy_from_slice(&all[*at..end]);
            let outside = all[..*at].iter().chain(&all[end..]);
            assert!(outside.into_iter().all(|v| v.to_bits() == UNTOUCHED), "written outside the output");
        }
        frame[4].addr()
    }
}

impl Drop for Emitted {
    fn drop(&mut self) {
        let module = std::mem::replace(
            &mut self.module,
            JITModule::new(JITBuilder::new(default_libcall_names()).expect("a host")),
        );
        // SAFETY: nothing calls the code any more.
        unsafe { module.free_memory() };
    }
}

fn signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(I64); 3]);
    signature
}

/// The kernel's function for Cranelift.
fn build(
    kernel: &PlannedKernel,
    target: &Target,
    func: &mut Function,
    config: TargetFrontendConfig,
) -> Result<(), Refusal> {
    let mut contexts = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(func, &mut contexts);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let args = [0, 1, 2].map(|i| b.block_params(entry)[i]);
    Vectors::new(kernel).emit(&mut Clif::new(&mut b, entry, args, target))?;
    b.ins().return_(&[]);
    b.finalize(config);
    Ok(())
}

/// Compiles for a machine that the tests do not run on, and checks that nothing is left to call.
fn check_compiles(kernel: &PlannedKernel, triple: &str) {
    let mut ctx = Context::new();
    compile_for(kernel, triple, &mut ctx);
    let code = ctx.compiled_code().expect("compiled");
    assert!(code.buffer.relocs().is_empty(), "calls in vector code");
}

/// The code for a machine as Cranelift writes it.
pub(super) fn disassembly(kernel: &PlannedKernel, triple: &str) -> String {
    let mut ctx = Context::new();
    ctx.set_disasm(true);
    compile_for(kernel, triple, &mut ctx);
    ctx.compiled_code().and_then(|code| code.vcode.clone()).expect("text was asked for")
}

fn compile_for(kernel: &PlannedKernel, triple: &str, ctx: &mut Context) {
    let target = kiln_targets::resolve(triple, "", "").expect("a known target");
    let isa = isa(&target, Code::Object, true).expect("consistent settings");
    ctx.func.signature = signature();
    let machine = match target.lhs_access {
        LhsAccess::Broadcast => Machine::CraneliftSse2,
        LhsAccess::ByLane => Machine::CraneliftByLane,
    };
    build(&machine.planned(kernel), &target, &mut ctx.func, isa.frontend_config())
        .expect("a supported kernel");
    cranelift_codegen::verify_function(&ctx.func, &*isa).expect("valid code");
    ctx.compile(&*isa, &mut ControlPlane::default()).expect("code for every instruction");
}

/// Compares the emitted kernel with the interpreter on every machine, as a whole and in ranges.
pub(super) fn check(kernel: &PlannedKernel, memory: &Memory) {
    for machine in MACHINES {
        // Tiles are done in whole vectors.
        let fits = match &kernel.schedule {
            Schedule::Tile(t) => (t.nr as usize).is_multiple_of(machine.lanes()) && machine.has_tile(t),
            _ => true,
        };
        if fits {
            check_on(kernel, memory, machine);
        }
    }
    check_compiles(kernel, "x86_64-unknown-linux-gnu");
    check_compiles(kernel, "aarch64-unknown-linux-gnu");
}

/// What the emitted kernel leaves on every machine that runs, and its status.
pub(super) fn run_everywhere(kernel: &PlannedKernel, memory: &Memory) -> Vec<(Machine, Memory, usize)> {
    let run = |machine: Machine| {
        let emitted = Emitted::new(kernel, machine).unwrap_or_else(|e| panic!("{machine:?}: {e}"));
        let n = machine.planned(kernel).steps().expect("constant extents");
        let mut after = memory.clone();
        let status = emitted.call(&mut after, &[(0, n)]);
        (machine, after, status)
    };
    MACHINES.into_iter().filter(|m| m.runs()).map(run).collect()
}

/// Compares with the interpreter on one machine, where it runs.
pub(super) fn check_on(kernel: &PlannedKernel, memory: &Memory, machine: Machine) {
    if !machine.runs() {
        return;
    }
    let want = interpreted(kernel, memory);
    let planned = machine.planned(kernel);
    let emitted = Emitted::of(&planned, machine).unwrap_or_else(|e| panic!("{machine:?}: {e}\n{kernel:#?}"));
    compare(&emitted, &planned, machine, memory, &want);
    // Loops that threads could share as well, where there are registers for them.
    for shared in schedule::options(&planned, machine.lanes() as u32).into_iter().skip(1) {
        let planned = PlannedKernel { shared: Some(shared), ..planned.clone() };
        if let Ok(emitted) = Emitted::of(&planned, machine) {
            compare(&emitted, &planned, machine, memory, &want);
        }
    }
}

/// What the kernel does as a whole, in halves and step by step.
fn compare(emitted: &Emitted, kernel: &PlannedKernel, machine: Machine, memory: &Memory, want: &[Vec<f32>]) {
    let n = kernel.steps().expect("constant extents");
    for ranges in [vec![(0, n)], vec![(0, n / 2), (n / 2, n)], (0..n).map(|i| (i, i + 1)).collect()] {
        let mut got = memory.clone();
        emitted.call(&mut got, &ranges);
        for (o, (got, want)) in got.outputs.iter().zip(want).enumerate() {
            let scale = want.iter().fold(1e-3f32, |m, v| if v.is_finite() { m.max(v.abs()) } else { m });
            for (i, (g, w)) in got.iter().zip(want).enumerate() {
                let same =
                    g.to_bits() == w.to_bits() || (g - w).abs() <= 2e-5 * scale || g.is_nan() && w.is_nan();
                assert!(same, "{machine:?} {ranges:?}: output {o}[{i}] is {g}, should be {w}\n{kernel:#?}");
            }
        }
    }
}

/// The outputs by the definition of the plan: one with this kernel alone.
fn interpreted(kernel: &PlannedKernel, memory: &Memory) -> Vec<Vec<f32>> {
    let tensor = |values: &[f32]| Tensor::from_vec(&[values.len()], values.to_vec());
    let port = |values: &Vec<f32>| Port {
        name: String::new(),
        ty: TensorType::new(DType::F32, Shape::of(&[values.len()])),
    };
    // Where an access begins, a constant does; it ends where the next one begins.
    let mut starts: Vec<usize> = kernel
        .form
        .loads()
        .into_iter()
        .flat_map(|a| std::iter::once(a).chain(a.gathers.iter().map(|g| &*g.index)))
        .filter_map(|a| match a.storage {
            Storage::Weights { offset_bytes } => Some(offset_bytes),
            _ => None,
        })
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).map(|start| start / 4).chain([memory.weights.len()]);
    let weight = |(&offset_bytes, end): (&usize, usize)| Weight {
        name: "w".to_owned(),
        offset_bytes,
        tensor: tensor(&memory.weights[offset_bytes / 4..end]),
    };
    let plan = Plan {
        inputs: memory.inputs.iter().map(port).collect(),
        outputs: memory.outputs.iter().map(port).collect(),
        weights: starts.iter().zip(ends).map(weight).collect(),
        weights_bytes: memory.weights.len() * 4,
        kernels: vec![kernel.clone()],
        ..Plan::default()
    };
    let inputs: Vec<Tensor> = memory.inputs.iter().map(|values| tensor(values)).collect();
    let outputs = eval::plan::run(&plan, &inputs).unwrap_or_else(|e| panic!("{e}\n{plan}"));
    outputs.iter().map(|t| t.as_slice::<f32>().expect("the type of the port").to_vec()).collect()
}

/// Deterministic numbers in `-1..1`, with the denominators of halves so that sums of few are exact.
pub(super) fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state % 256) as f32 / 128.0 - 1.0
        })
        .collect()
}

/// A loop.
pub(super) fn l(name: &str, extent: i64, role: Role) -> Loop {
    Loop { name: name.to_owned(), extent: Dim::Const(extent), role }
}

/// An f32 access without guards.
pub(super) fn access(storage: Storage, offset: i64, strides: &[i64]) -> FlatAccess {
    FlatAccess {
        name: "x".to_owned(),
        storage,
        dtype: DType::F32,
        offset: Dim::Const(offset),
        strides: strides.iter().map(|s| Dim::Const(*s)).collect(),
        gathers: Vec::new(),
        guards: Vec::new(),
        otherwise: None,
    }
}

/// The access with `0 <= offset + coefficients * loops < extent`, else `otherwise`.
pub(super) fn guarded(mut a: FlatAccess, guards: &[(i64, &[i64], i64)], otherwise: f32) -> FlatAccess {
    a.guards = guards
        .iter()
        .map(|(offset, coefficients, extent)| Guard {
            offset: Dim::Const(*offset),
            coefficients: coefficients.iter().map(|c| Dim::Const(*c)).collect(),
            extent: Dim::Const(*extent),
        })
        .collect();
    a.otherwise = Some(Scalar::f32(otherwise));
    a
}

/// A kernel.
pub(super) fn kernel(loops: Vec<Loop>, form: Form<FlatAccess>, schedule: Schedule) -> PlannedKernel {
    PlannedKernel {
        name: "test".to_owned(),
        nodes: Vec::new(),
        loops,
        form,
        schedule,
        provider: Provider::Plain,
        shared: None,
        why: String::new(),
        grain: None,
        bounds: Default::default(),
    }
}

/// An access as a value.
pub(super) fn load(a: FlatAccess) -> Expr<FlatAccess> {
    Expr::Load(a)
}

/// `max(e, 0)`.
pub(super) fn relu(e: Expr<FlatAccess>) -> Expr<FlatAccess> {
    Expr::binary(BinaryOp::Max, e, Expr::f32(0.0))
}
