//! Programs of the machine that tests need: compilers and an emulator.

use std::path::Path;
use std::process::{Command, Output};

use crate::{Outcome, text};

/// A C compiler of the machine.
pub const CC: &str = "cc";
/// A C++ compiler of the machine.
pub const CXX: &str = "c++";
/// The C compiler for AArch64.
pub const CROSS_CC: &str = "aarch64-linux-gnu-gcc";
/// The user-mode emulator of AArch64.
pub const QEMU: &str = "qemu-aarch64-static";

/// The C compiler for RISC-V of 64 bits.
pub const RISCV64_CC: &str = "riscv64-linux-gnu-gcc";
/// Its emulator.
pub const QEMU_RISCV64: &str = "qemu-riscv64-static";
/// The C compiler for s390x, which stores the high byte of a number first.
pub const S390X_CC: &str = "s390x-linux-gnu-gcc";
/// Its emulator.
pub const QEMU_S390X: &str = "qemu-s390x-static";
/// The C compiler for Windows on x86-64.
pub const WINDOWS_CC: &str = "x86_64-w64-mingw32-gcc";
/// What runs its programs.
pub const WINE: &str = "wine";

/// The user-mode emulator of x86-64.
pub const QEMU_X86_64: &str = "qemu-x86_64-static";

/// Whether a program answers to `--version`.
pub fn exists(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success())
}

/// What is not there, of all that running code for AArch64 needs.
pub fn missing_for_aarch64() -> Vec<&'static str> {
    [CROSS_CC, QEMU].into_iter().filter(|t| !exists(t)).collect()
}

/// Whether missing programs are failures: on CI, where nothing may be skipped.
pub fn on_ci() -> bool {
    std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0")
}

/// A command's output when it succeeds, else an error with what it printed.
pub fn run(command: &mut Command) -> Outcome<Output> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!(
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Compiles and links one C or C++ file with libraries, and with nothing else.
pub fn link(compiler: &str, flags: &[&str], source: &Path, libraries: &[&Path], program: &Path) -> Outcome {
    let mut command = Command::new(compiler);
    command.args(flags).arg(source).args(libraries).arg("-o").arg(program);
    run(&mut command).map(drop)
}

/// A command that runs a program with what is in front of it, such as an emulator. Wine keeps its files with the caches.
pub fn start(runner: &[&str], program: &Path) -> Command {
    let Some((first, rest)) = runner.split_first() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    if *first == WINE {
        let files = crate::repository().join(".cache");
        let _ = std::fs::create_dir_all(&files);
        command.env("WINEDEBUG", "-all").env("WINEPREFIX", files.join("wine"));
    }
    command
}

/// The bytes of a file.
pub fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Writes a file.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> Outcome {
    std::fs::write(path, contents).map_err(text)
}

/// What a command came to.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// Its diagnostics.
    pub stderr: String,
}

/// Runs the `kiln` command at `binary` and waits for it.
pub fn kiln(binary: &str, arguments: &[&std::ffi::OsStr]) -> Outcome<Ended> {
    let output = Command::new(binary).args(arguments).env("NO_COLOR", "1").output().map_err(text)?;
    Ok(Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Compiles a model with the `kiln` command to `folder/libNAME.a` and `folder/NAME.h`.
pub fn kiln_compile(binary: &str, model: &Path, folder: &Path, more: &[&str]) -> Outcome {
    let mut arguments: Vec<&std::ffi::OsStr> =
        vec!["compile".as_ref(), model.as_ref(), "-o".as_ref(), folder.as_ref()];
    arguments.extend(more.iter().map(std::ffi::OsStr::new));
    let ended = kiln(binary, &arguments)?;
    if ended.code == 0 { Ok(()) } else { Err(format!("exit code {}: {}", ended.code, ended.stderr)) }
}
