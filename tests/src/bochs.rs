//! A machine with AVX-512, emulated: an Ice Lake of Bochs, which needs no privileges and no such processor.
//!
//! The driver and the libraries become a program without an operating system. A boot sector starts it from the
//! image of a disk, and it writes what it gives to that disk. The files are in `tests/bochs`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_ir::Tensor;

use crate::driver::{self, Case};
use crate::{Outcome, repository, text, tools};

/// The emulator.
const BOCHS: &str = "bochs";
/// Its output on terminals, a package of its own.
const DISPLAY: &str = "/usr/share/doc/bochs-term";
/// The packages of Debian that have them.
pub const PACKAGES: &str = "bochs bochs-term";

/// Seconds after which the machine has failed: it needs one to start, and stops at what it cannot decode.
const SECONDS: &str = "240";

const SECTOR: usize = 512;
/// Bytes of a cylinder of the disk: 16 heads, 63 sectors.
const CYLINDER: usize = 16 * 63 * SECTOR;
/// Where the boot sector has the number of the guest's sectors.
const GUEST_SECTORS: usize = 506;

/// Flags of programs without an operating system.
const BARE: &[&str] = &["-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments"];

/// What is not there, of all that this needs.
pub fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !Path::new("/usr/bin").join(BOCHS).exists() {
        missing.push(BOCHS);
    }
    if !Path::new(DISPLAY).exists() {
        missing.push("bochs-term");
    }
    let machine = Command::new(tools::CC).arg("-dumpmachine").output();
    if !machine.is_ok_and(|m| String::from_utf8_lossy(&m.stdout).starts_with("x86_64")) {
        missing.push("a C compiler for x86-64");
    }
    missing
}

/// Links the libraries `folder/libNAME.a` with a driver and runs it on the emulated machine; the outputs of each
/// model.
pub fn run(folder: &Path, cases: &[Case], inputs: &[Vec<Tensor>]) -> Outcome<Vec<Vec<Tensor>>> {
    let boot = tools::read(&boot_sector(folder)?)?;
    let guest = tools::read(&guest(folder, cases, inputs)?)?;
    let outputs = split_sizes(cases);
    let sectors = guest.len().div_ceil(SECTOR);
    // Boot sector, guest, the head of the outputs, outputs.
    let used = SECTOR * (2 + sectors) + outputs.next_multiple_of(SECTOR);
    let cylinders = used.div_ceil(CYLINDER);
    let image = folder.join("disk.img");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&image).map_err(text)?;
    file.write_all(&boot[..GUEST_SECTORS]).map_err(text)?;
    file.write_all(&u32::try_from(sectors).map_err(text)?.to_le_bytes()).map_err(text)?;
    file.write_all(&boot[GUEST_SECTORS + 4..]).map_err(text)?;
    file.write_all(&guest).map_err(text)?;
    file.set_len((cylinders * CYLINDER) as u64).map_err(text)?;
    drop(file);
    emulate(folder, cylinders)?;
    let image = tools::read(&image)?;
    let (head, bytes) = image[SECTOR * (1 + sectors)..].split_at(SECTOR);
    let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    if !head.starts_with(b"done") {
        return Err(format!("the emulated machine did not finish{}", last_words(folder)));
    }
    match (word(4), word(8) as usize) {
        (0, size) if size == outputs => driver::split(bytes[..size].to_vec(), cases, inputs),
        (0, size) => Err(format!("{size} bytes of outputs instead of {outputs}")),
        (status, _) => Err(format!("the driver ended with {status} on the emulated machine")),
    }
}

fn split_sizes(cases: &[Case]) -> usize {
    let ports = cases.iter().flat_map(|c| &c.outputs);
    ports.map(|p| p.ty.dtype.bytes_of(p.ty.shape.as_const().unwrap_or_default().iter().product())).sum()
}

fn sources() -> PathBuf {
    repository().join("tests/bochs")
}

fn boot_sector(folder: &Path) -> Outcome<PathBuf> {
    let boot = folder.join("boot");
    let flags = [BARE, &["-Wl,-Ttext=0x7c00"]].concat();
    tools::link(tools::CC, &flags, &sources().join("boot.S"), &[], &boot)?;
    flat(&boot)
}

/// The bytes of a program as they lie in memory, without what starts as zeros.
fn flat(program: &Path) -> Outcome<PathBuf> {
    let image = program.with_extension("bin");
    tools::run(Command::new("objcopy").args(["-O", "binary"]).args([program, &image]))?;
    Ok(image)
}

fn guest(folder: &Path, cases: &[Case], inputs: &[Vec<Tensor>]) -> Outcome<PathBuf> {
    let (main, bytes, guest) =
        (folder.join("guest_main.c"), folder.join("guest.inputs"), folder.join("guest"));
    tools::write(&bytes, driver::concatenated(cases, inputs)?)?;
    let inputs = format!(
        "__asm__(\".section .rodata\\n.balign 64\\n.globl guest_inputs, guest_inputs_end\\nguest_inputs:\\n\"
        \".incbin \\\"{}\\\"\\nguest_inputs_end:\\n.previous\\n\");\n",
        bytes.display()
    );
    let platform = sources().join("guest.c");
    let body = driver::body(&driver::signatures(cases));
    tools::write(&main, format!("#include \"{}\"\n{inputs}{body}", platform.display()))?;
    let script = format!("-Wl,-T,{}", sources().join("guest.ld").display());
    let code = [
        "-std=gnu11",
        "-O1",
        "-ffreestanding",
        "-fno-pic",
        "-no-pie",
        "-mno-red-zone",
        "-fno-stack-protector",
    ];
    let flags = [BARE, &code, &[&*script]].concat();
    let libraries: Vec<_> = cases.iter().map(|c| folder.join(format!("lib{}.a", c.name))).collect();
    let libraries: Vec<&Path> = libraries.iter().map(|p| &**p).collect();
    tools::link(tools::CC, &flags, &main, &libraries, &guest)?;
    flat(&guest)
}

/// Runs the machine until it stops. Its exit code says nothing: what it wrote to the disk does.
fn emulate(folder: &Path, cylinders: usize) -> Outcome {
    let settings = std::fs::read_to_string(sources().join("bochsrc")).map_err(text)?;
    let disk = format!(
        "ata0-master: type=disk, path=disk.img, mode=flat, cylinders={cylinders}, heads=16, spt=63\n"
    );
    tools::write(&folder.join("bochsrc"), settings + &disk)?;
    // Debian's has a debugger, which waits for a command before it starts.
    tools::write(&folder.join("commands"), "c\n")?;
    let mut command = Command::new("timeout");
    command.args([SECONDS, BOCHS, "-q", "-f", "bochsrc", "-rc", "commands"]);
    command.current_dir(folder).env("TERM", "vt100");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map(drop).map_err(|e| format!("{command:?}: {e}"))
}

/// The end of the machine's log, where it says why it stopped.
fn last_words(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("bochs.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].iter().map(|l| format!("\n{l}")).collect()
}
