//! Microcontrollers, emulated: models in C99 by cross compilers, on boards of QEMU without an operating system.
//!
//! The program reads and writes files of this machine (semihosting). The files are in `tests/boards`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ::object::{Object as _, ObjectSection as _, SectionKind};
use kiln_compiler::internals::pipeline::Options;
use kiln_ir::Tensor;

use crate::driver::{self, Case};
use crate::{Outcome, repository, text, tools};

/// A board and what its programs are made by.
#[derive(Clone, Copy, Debug)]
pub struct Board {
    /// Its name in tests.
    pub name: &'static str,
    /// The triple that models are compiled for.
    pub triple: &'static str,
    /// The C compiler.
    pub cc: &'static str,
    /// The machine.
    pub flags: &'static [&'static str],
    /// The linker script.
    script: &'static str,
    /// The emulator with its options.
    emulator: &'static [&'static str],
}

/// A Cortex-M4 with the DSP extension and floats of 32 bits.
pub const M4: Board = Board {
    name: "m4",
    triple: "thumbv7em-none-eabihf",
    cc: "arm-none-eabi-gcc",
    flags: &["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"],
    script: "m4.ld",
    emulator: &["qemu-system-arm", "-M", "mps2-an386", "-cpu", "cortex-m4"],
};

/// A Cortex-M55: Helium.
pub const M55: Board = Board {
    name: "m55",
    triple: "thumbv8m.main-none-eabihf",
    cc: "arm-none-eabi-gcc",
    flags: &["-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"],
    script: "m55.ld",
    emulator: &["qemu-system-arm", "-M", "mps3-an547", "-cpu", "cortex-m55"],
};

/// RISC-V of 32 bits without floats.
pub const RV32: Board = Board {
    name: "rv32",
    triple: "riscv32imac-unknown-none-elf",
    cc: "riscv64-unknown-elf-gcc",
    flags: &["-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany"],
    script: "rv32.ld",
    emulator: &[
        "qemu-system-riscv32",
        "-M",
        "virt",
        "-cpu",
        "rv32,f=false,d=false",
        "-m",
        "128M",
        "-bios",
        "none",
    ],
};

/// All of them.
pub const ALL: [Board; 3] = [M4, M55, RV32];

/// The packages of Debian that have the compilers and emulators.
pub const PACKAGES: &str = "gcc-arm-none-eabi gcc-riscv64-unknown-elf qemu-system-arm qemu-system-misc";

/// Seconds after which a board hangs.
const SECONDS: &str = "240";
/// Nothing to complain about in C99, with a compiler's own headers alone.
const MODEL: &[&str] = &["-std=c99", "-O2", "-ffreestanding", "-Wall", "-Wextra", "-pedantic", "-Werror"];
/// The driver needs no library either.
const PROGRAM: &[&str] =
    &["-std=gnu11", "-O1", "-ffreestanding", "-nostdlib", "-static", "-Wl,--build-id=none"];

impl Board {
    /// What is not there, of all that this needs.
    pub fn missing(&self) -> Vec<&'static str> {
        [self.cc, self.emulator[0]].into_iter().filter(|t| !tools::exists(t)).collect()
    }

    /// Compiles `folder/NAME.c`; the object.
    pub fn object(&self, folder: &Path, name: &str) -> Outcome<PathBuf> {
        let object = folder.join(format!("{name}.o"));
        let mut command = Command::new(self.cc);
        command.args(self.flags).args(MODEL).arg("-c").arg(format!("{name}.c")).arg("-o").arg(&object);
        tools::run(command.current_dir(folder))?;
        Ok(object)
    }

    /// Compiles the models `folder/NAME.c`, and runs them on the board; the outputs of each.
    pub fn run(&self, folder: &Path, cases: &[Case], inputs: &[Vec<Tensor>]) -> Outcome<Vec<Vec<Tensor>>> {
        let objects = cases.iter().map(|c| self.object(folder, &c.name)).collect::<Outcome<Vec<_>>>()?;
        let (sources, main, program) =
            (repository().join("tests/boards"), folder.join("board_main.c"), folder.join("board.elf"));
        let body = driver::body(&driver::signatures(cases));
        tools::write(&main, format!("#include \"{}\"\n{body}", sources.join("board.c").display()))?;
        self.link(folder, &main, &objects, &program)?;
        tools::write(&folder.join("inputs.bin"), driver::concatenated(cases, inputs)?)?;
        driver::split(self.emulate(folder, &program)?, cases, inputs)
    }

    fn link(&self, folder: &Path, main: &Path, objects: &[PathBuf], program: &Path) -> Outcome {
        let mut command = Command::new(self.cc);
        command.args(self.flags).args(PROGRAM).arg("-I").arg(folder).arg("-L");
        command.arg(repository().join("tests/boards")).arg("-T").arg(self.script);
        command.arg(main).args(objects).arg("-lgcc").arg("-o").arg(program);
        tools::run(command.current_dir(folder)).map(drop)
    }

    /// What a program writes, which reads `folder/inputs.bin`.
    fn emulate(&self, folder: &Path, program: &Path) -> Outcome<Vec<u8>> {
        let mut command = Command::new("timeout");
        command.arg(SECONDS).args(self.emulator).args(["-nographic", "-semihosting-config"]);
        command.args(["enable=on,target=native", "-kernel"]).arg(program);
        tools::run(command.current_dir(folder).stdin(Stdio::null()))?;
        std::fs::read(folder.join("outputs.bin")).map_err(text)
    }

    /// Bytes of stack that a call of the model `folder/m.c` touches on the board, with one input and one output.
    pub fn touched_stack(&self, folder: &Path, case: Case, inputs: &[Tensor]) -> Outcome<u64> {
        let (object, program) = (self.object(folder, "m")?, folder.join("stack.elf"));
        let main = repository().join("tests/boards/stack.c");
        self.link(folder, &main, &[object], &program)?;
        tools::write(&folder.join("inputs.bin"), driver::concatenated(&[case], &[inputs.to_vec()])?)?;
        let bytes = self.emulate(folder, &program)?;
        let touched = bytes.try_into().map_err(|_| "the board did not tell its stack".to_owned())?;
        Ok(u32::from_le_bytes(touched).into())
    }

    /// Bytes of stack that a call of `folder/m.c` takes at most, as `scripts/stack_c99.py` tells.
    pub fn told_stack(&self, folder: &Path) -> Outcome<u64> {
        let flags = [self.flags, MODEL].concat().join(" ");
        let mut command = Command::new("python3");
        command.arg(repository().join("scripts/stack_c99.py")).arg(folder.join("m.c"));
        command.args(["--json", "--cc", self.cc]).arg(format!("--flags={flags}"));
        let told: serde_json::Value =
            serde_json::from_slice(&tools::run(&mut command)?.stdout).map_err(text)?;
        told["run"].as_u64().ok_or_else(|| format!("no total: {told}"))
    }

    /// Bytes of code in an object.
    pub fn code_bytes(&self, object: &Path) -> Outcome<u64> {
        let bytes = tools::read(object)?;
        let file = ::object::File::parse(&*bytes).map_err(text)?;
        Ok(file.sections().filter(|s| s.kind() == SectionKind::Text).map(|s| s.size()).sum())
    }
}

/// Options for C, to be compiled for a board.
pub fn options(board: &Board) -> Outcome<Options> {
    Ok(Options::new(kiln_targets::c::target(board.triple).map_err(text)?))
}
