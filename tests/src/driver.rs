//! A C program around compiled models: reads their inputs from a file, runs them, writes their outputs to a file.
//!
//! The arena starts out as NaNs, so that a read of what was never written shows. Arena, inputs and outputs stand between
//! guard bytes and a page that cannot be read, so that accesses outside show too, also of runs that end with a status.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use kiln_ir::dim::Symbols;
use kiln_ir::kernel::plan::{Plan, Port};
use kiln_ir::{Bounds, Tensor};

use crate::{Outcome, text, tools};

/// A compiled model: `libNAME.a` and `NAME.h`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The prefix of its symbols.
    pub name: String,
    /// Its arguments.
    pub inputs: Vec<Port>,
    /// Its results.
    pub outputs: Vec<Port>,
    /// Its open dimensions.
    pub bounds: Bounds,
    /// Those of them that a run tells.
    pub counted: Vec<String>,
}

/// What a program needs to know of a model.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// The prefix of its symbols.
    pub name: &'a str,
    /// How many arguments it has.
    pub inputs: usize,
    /// How many results.
    pub outputs: usize,
    /// Whether it has open dimensions: their values come before the arguments.
    pub open: bool,
    /// Whether a run tells some of them: then all come before the results.
    pub counted: bool,
}

impl Case {
    /// A plan's, compiled under that name.
    pub fn new(name: &str, plan: &Plan) -> Self {
        Self {
            name: name.to_owned(),
            inputs: plan.inputs.clone(),
            outputs: plan.outputs.clone(),
            bounds: plan.bounds.clone(),
            counted: plan.counted.iter().map(|c| c.name.to_string()).collect(),
        }
    }

    /// The values of the open dimensions that arguments have, and the greatest of those that a run tells.
    fn symbols(&self, inputs: &[Tensor]) -> Outcome<Symbols> {
        let declared: Vec<_> = self.inputs.iter().map(|p| (&*p.name, &p.ty)).collect();
        if self.bounds.is_empty() {
            return Ok(Symbols::new());
        }
        let mut symbols = kiln_ir::eval::bind(&declared, inputs, &self.bounds).map_err(text)?;
        let counted = self.bounds.iter().filter(|(name, _)| self.counted.iter().any(|c| **c == ***name));
        symbols.extend(counted.map(|(name, bound)| (name.clone(), bound.hi)));
        Ok(symbols)
    }
}

/// What a driver needs of an operating system.
const HOSTED: &str = "#define _DEFAULT_SOURCE
#include <stdio.h>
#include <string.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif
static FILE *in, *out;
static int take(void *to, size_t n) { return fread(to, 1, n, in) == n; }
static int at_end(void) { return fgetc(in) == EOF; }
static int give(const void *from, size_t n) { return fwrite(from, 1, n, out) == n; }

/* Memory that ends where a page begins that nobody may touch; or write, where an emulator reads all of a masked vector. */
#ifndef GUARD
#define GUARD PROT_NONE
#endif
#ifdef _WIN32
static size_t page_bytes(void) { return 4096; }
static unsigned char *pages(size_t whole, size_t page) {
    unsigned char *p = VirtualAlloc(0, whole + page, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    DWORD old;
    return p && VirtualProtect(p + whole, page, PAGE_NOACCESS, &old) ? p : 0;
}
#else
static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }
static unsigned char *pages(size_t whole, size_t page) {
    unsigned char *p = mmap(0, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p != MAP_FAILED && !mprotect(p + whole, page, GUARD) ? p : 0;
}
#endif
static struct { unsigned char *from, *to; } fronts[4000];
static int rooms;
static void *room(size_t n) {
    size_t page = page_bytes(), whole = (n + 64 + page - 1) / page * page;
    unsigned char *p = pages(whole, page);
    if (!p || rooms == 4000) _exit(104);
    fronts[rooms].from = p;
    fronts[rooms].to = p + whole - n;
    memset(p, 0xA5, whole - n);
    return fronts[rooms++].to;
}
static int intact(void) {
    for (int i = 0; i < rooms; i++)
        for (unsigned char *p = fronts[i].from; p < fronts[i].to; p++) if (*p != 0xA5) return 0;
    return 1;
}

static int drive(void);
int main(int argc, char **argv) {
    if (argc != 3) return 100;
    in = fopen(argv[1], \"rb\");
    if (!in) return 101;
    out = fopen(argv[2], \"wb\");
    if (!out) return 105;
    int status = drive();
    return fclose(out) ? 108 : status;
}
";

/// The program's text for models with these arguments and results.
pub fn source(cases: &[Signature<'_>]) -> String {
    format!("{HOSTED}{}", body(cases))
}

/// Files have the low byte of a number first, memory what the machine stores first.
const TURN: &str = "static void turn(void *at, size_t n, size_t bytes) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (unsigned char *p = at; n; n--, p += bytes)
        for (size_t i = 0; i < bytes / 2; i++) {
            unsigned char low = p[i];
            p[i] = p[bytes - 1 - i];
            p[bytes - 1 - i] = low;
        }
#else
    (void)at;
    (void)n;
    (void)bytes;
#endif
}
";

/// `drive`, which runs the models one after the other: it takes their inputs and gives their outputs, and returns 0 or
/// what went wrong. Of its machine it needs `take`, `at_end`, `give`, `room` and `intact`.
pub fn body(cases: &[Signature<'_>]) -> String {
    let mut c = TURN.to_owned();
    c.extend(cases.iter().map(one));
    c += "static int drive(void) {\n    int status;\n";
    for Signature { name, .. } in cases {
        let _ = writeln!(c, "    if ((status = drive_{name}())) return status;");
    }
    c += "    return at_end() ? 0 : 103;\n}\n";
    c
}

fn one(signature: &Signature<'_>) -> String {
    let Signature { name, inputs, outputs, open, counted } = *signature;
    // Of an open model the bytes that its sizes come to: what is behind them is not to be touched.
    let bytes = |kind: &str, i: usize| match open {
        false => format!("{name}_{kind}_{i}_BYTES"),
        true => format!("{name}_{kind}_{i}_ELEMENTS_OF(&sizes) * sizeof({name}_{kind}_{i}_CTYPE)"),
    };
    let turned = |kind: &str, list: &str, i: usize| {
        let size = format!("sizeof({name}_{kind}_{i}_CTYPE)");
        format!("    turn({list}[{i}], {} / {size}, {size});\n", bytes(kind, i))
    };
    let (sizes, argument) = match open {
        false => (String::new(), ""),
        true => (
            format!(
                "    {name}_sizes sizes;\n    if (!take(&sizes, sizeof sizes)) return 102;\n    turn(&sizes, sizeof sizes / 8, 8);\n"
            ),
            ", &sizes",
        ),
    };
    let list = |kind: &str, n: usize| {
        let rooms = (0..n).map(|i| format!("room({})", bytes(kind, i)));
        rooms.chain(["0".to_owned()]).collect::<Vec<_>>().join(", ")
    };
    let mut c = format!(
        "#include \"{name}.h\"
static int drive_{name}(void) {{
{sizes}    size_t arena_bytes = ({name}_ARENA_BYTES + {name}_ARENA_ALIGN - 1) / {name}_ARENA_ALIGN * {name}_ARENA_ALIGN;
    unsigned char *arena = room(arena_bytes);
    memset(arena, 0xFF, arena_bytes);
    void *inputs[] = {{ {} }};
    void *outputs[] = {{ {} }};
",
        list("INPUT", inputs),
        list("OUTPUT", outputs)
    );
    for i in 0..inputs {
        let _ = writeln!(c, "    if (!take(inputs[{i}], {})) return 102;", bytes("INPUT", i));
        c += &turned("INPUT", "inputs", i);
    }
    let _ = writeln!(
        c,
        "    int status = {name}_run((const void *const *)inputs, outputs, arena{argument});
    if (!intact()) return 106;
    if (status != {name}_OK) return status;"
    );
    if counted {
        c += "    turn(&sizes, sizeof sizes / 8, 8);
    if (!give(&sizes, sizeof sizes)) return 107;
    turn(&sizes, sizeof sizes / 8, 8);\n";
    }
    for i in 0..outputs {
        c += &turned("OUTPUT", "outputs", i);
        let _ = writeln!(c, "    if (!give(outputs[{i}], {})) return 107;", bytes("OUTPUT", i));
    }
    c += "    return 0;\n}\n";
    c
}

/// A compiler and what runs its programs.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The C compiler.
    pub cc: &'a str,
    /// Its flags.
    pub flags: &'a [&'a str],
    /// In front of the program: an emulator.
    pub runner: &'a [&'a str],
}

/// This machine.
pub const NATIVE: Host<'static> = Host { cc: tools::CC, flags: &["-std=c11"], runner: &[] };

/// An AArch64 machine with nothing but the base instruction set, emulated.
pub const AARCH64: Host<'static> = Host {
    cc: tools::CROSS_CC,
    flags: &["-std=c11", "-static"],
    runner: &[tools::QEMU, "-cpu", "cortex-a53"],
};

/// A RISC-V machine of 64 bits, emulated.
pub const RISCV64: Host<'static> =
    Host { cc: tools::RISCV64_CC, flags: &["-std=c11", "-static"], runner: &[tools::QEMU_RISCV64] };

/// An s390x machine, which stores the high byte of a number first, emulated.
pub const S390X: Host<'static> =
    Host { cc: tools::S390X_CC, flags: &["-std=c11", "-static"], runner: &[tools::QEMU_S390X] };

/// An AArch64 machine with everything that the emulator knows.
pub const AARCH64_MAX: Host<'static> = Host { runner: &[tools::QEMU, "-cpu", "max"], ..AARCH64 };

/// An x86-64 machine with nothing but the base instruction set, emulated.
pub const SSE2: Host<'static> = Host {
    cc: tools::CC,
    flags: &["-std=c11", "-static"],
    runner: &[tools::QEMU_X86_64, "-cpu", "qemu64,-pni,-ssse3,-sse4.1,-sse4.2,-cx16"],
};

/// An x86-64 machine with AVX and neither AVX2 nor FMA, emulated.
pub const AVX: Host<'static> = Host {
    cc: tools::CC,
    flags: &["-std=c11", "-static"],
    runner: &[tools::QEMU_X86_64, "-cpu", "SandyBridge"],
};

/// A machine of this architecture with Windows' convention and objects, by Wine.
pub const WINDOWS: Host<'static> =
    Host { cc: tools::WINDOWS_CC, flags: &["-std=c11", "-static"], runner: &[tools::WINE] };

/// Flags for models in C: nothing to complain about in C99.
const C99: &[&str] = &["-std=c99", "-O0", "-Wall", "-Wextra", "-pedantic", "-Werror"];

/// Links the libraries `folder/libNAME.a` with a driver and runs it; the outputs of each model.
pub fn run(host: Host, folder: &Path, cases: &[Case], inputs: &[Vec<Tensor>]) -> Outcome<Vec<Vec<Tensor>>> {
    let libraries = cases.iter().map(|c| folder.join(format!("lib{}.a", c.name))).collect();
    run_with(host, folder, cases, libraries, inputs)
}

/// Compiles the models `folder/NAME.c`, all in one call of the compiler, and does the same with them.
pub fn run_c(host: Host, folder: &Path, cases: &[Case], inputs: &[Vec<Tensor>]) -> Outcome<Vec<Vec<Tensor>>> {
    let mut command = Command::new(host.cc);
    command.args(C99).arg("-c").args(cases.iter().map(|c| format!("{}.c", c.name))).current_dir(folder);
    tools::run(&mut command)?;
    let objects = cases.iter().map(|c| folder.join(format!("{}.o", c.name))).collect();
    run_with(host, folder, cases, objects, inputs)
}

fn run_with(
    host: Host,
    folder: &Path,
    cases: &[Case],
    libraries: Vec<PathBuf>,
    inputs: &[Vec<Tensor>],
) -> Outcome<Vec<Vec<Tensor>>> {
    let program = build(host, folder, cases, &libraries)?;
    let (input, output) = (folder.join("inputs.bin"), folder.join("outputs.bin"));
    tools::write(&input, concatenated(cases, inputs)?)?;
    tools::run(tools::start(host.runner, &program).args([&input, &output]))?;
    split(std::fs::read(&output).map_err(text)?, cases, inputs)
}

/// What [`run`] does for one model.
pub fn run_one(host: Host, folder: &Path, case: Case, inputs: &[Tensor]) -> Outcome<Vec<Tensor>> {
    Ok(run(host, folder, &[case], &[inputs.to_vec()])?.remove(0))
}

/// The bytes that a driver takes.
pub fn concatenated(cases: &[Case], inputs: &[Vec<Tensor>]) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    for (case, inputs) in cases.iter().zip(inputs) {
        bytes.extend(case.symbols(inputs)?.values().flat_map(|n| n.to_le_bytes()));
        inputs.iter().for_each(|t| bytes.extend_from_slice(&t.data));
    }
    Ok(bytes)
}

/// Tensors from the bytes that a driver gave.
pub fn split(bytes: Vec<u8>, cases: &[Case], inputs: &[Vec<Tensor>]) -> Outcome<Vec<Vec<Tensor>>> {
    let mut bytes = Bytes::from(bytes);
    let tensor = |bytes: &mut Bytes, port: &Port, symbols: &Symbols| {
        let extent = |d: &kiln_ir::Dim| d.eval(symbols).and_then(|n| usize::try_from(n).ok());
        let shape: Option<Vec<usize>> = port.ty.shape.iter().map(extent).collect();
        let shape = shape.ok_or_else(|| format!("output '{}' has no shape", port.name))?;
        let size = port.ty.dtype.bytes_of(shape.iter().product());
        if bytes.len() < size {
            return Err(format!("{} bytes are left for output '{}'", bytes.len(), port.name));
        }
        Tensor::new(port.ty.dtype, shape, bytes.split_to(size)).map_err(text)
    };
    let mut of = |(case, inputs): (&Case, &Vec<Tensor>)| {
        let mut symbols = case.symbols(inputs)?;
        if !case.counted.is_empty() {
            for value in symbols.values_mut() {
                let word = (bytes.len() >= 8).then(|| bytes.split_to(8)).ok_or("no sizes are left")?;
                *value = i64::from_le_bytes(word[..].try_into().map_err(text)?);
            }
        }
        case.outputs.iter().map(|port| tensor(&mut bytes, port, &symbols)).collect()
    };
    cases.iter().zip(inputs).map(&mut of).collect()
}

/// Names and numbers of arguments and results: what [`source`] needs.
pub fn signatures(cases: &[Case]) -> Vec<Signature<'_>> {
    fn make(c: &Case) -> Signature<'_> {
        let (inputs, outputs, open) = (c.inputs.len(), c.outputs.len(), !c.bounds.is_empty());
        Signature { name: &c.name, inputs, outputs, open, counted: !c.counted.is_empty() }
    }
    cases.iter().map(make).collect()
}

fn build(host: Host, folder: &Path, cases: &[Case], libraries: &[PathBuf]) -> Outcome<PathBuf> {
    // Compilers for Windows would add the ending.
    let (main, program) = (folder.join("main.c"), folder.join("main.exe"));
    tools::write(&main, source(&signatures(cases)))?;
    let libraries: Vec<&Path> = libraries.iter().map(|p| &**p).collect();
    tools::link(host.cc, host.flags, &main, &libraries, &program)?;
    Ok(program)
}
