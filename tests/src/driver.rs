//! A C program around one compiled model: reads its inputs from a file, runs it, writes its outputs to a file.
//!
//! The arena starts out as NaNs and every output stands between guard bytes, so that a read of what was never
//! written and a write outside show.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use kiln_ir::Tensor;
use kiln_ir::kernel::plan::Port;

use crate::{Outcome, text, tools};

/// The program's text for a model with that many arguments and results.
pub fn source(name: &str, inputs: usize, outputs: usize) -> String {
    let mut c = format!("#include <stdio.h>\n#include <string.h>\n#include \"{name}.h\"\n#define GUARD 64\n");
    let _ =
        writeln!(c, "static _Alignas({name}_ARENA_ALIGN) unsigned char arena[{name}_ARENA_BYTES + GUARD];");
    for i in 0..inputs {
        let _ = writeln!(c, "static _Alignas(64) unsigned char input_{i}[{name}_INPUT_{i}_BYTES + GUARD];");
    }
    for i in 0..outputs {
        let _ = writeln!(
            c,
            "static _Alignas(64) unsigned char output_{i}[GUARD + {name}_OUTPUT_{i}_BYTES + GUARD];"
        );
    }
    c += "static int intact(const unsigned char *bytes) {
    for (int i = 0; i < GUARD; i++) if (bytes[i] != 0xA5) return 0;
    return 1;
}
int main(int argc, char **argv) {
    if (argc != 3) return 100;
    FILE *in = fopen(argv[1], \"rb\");
    if (!in) return 101;\n";
    let _ = writeln!(
        c,
        "    memset(arena, 0xFF, {name}_ARENA_BYTES);\n    memset(arena + {name}_ARENA_BYTES, 0xA5, GUARD);"
    );
    let list = |kind: &str, n: usize, offset: &str| {
        (0..n).map(|i| format!("{kind}_{i}{offset}")).chain(["0".to_owned()]).collect::<Vec<_>>().join(", ")
    };
    for i in 0..inputs {
        let bytes = format!("{name}_INPUT_{i}_BYTES");
        let _ = writeln!(c, "    if (fread(input_{i}, 1, {bytes}, in) != {bytes}) return 102;");
    }
    c += "    if (fgetc(in) != EOF) return 103;\n";
    for i in 0..outputs {
        let _ = writeln!(c, "    memset(output_{i}, 0xA5, sizeof output_{i});");
    }
    let _ = writeln!(c, "    const void *inputs[] = {{ {} }};", list("input", inputs, ""));
    let _ = writeln!(c, "    void *outputs[] = {{ {} }};", list("output", outputs, " + GUARD"));
    let _ = writeln!(
        c,
        "    int status = {name}_run(inputs, outputs, arena);\n    if (status != {name}_OK) return status;"
    );
    let _ = writeln!(c, "    if (!intact(arena + {name}_ARENA_BYTES)) return 104;");
    c += "    FILE *out = fopen(argv[2], \"wb\");\n    if (!out) return 105;\n";
    for i in 0..outputs {
        let bytes = format!("{name}_OUTPUT_{i}_BYTES");
        let _ =
            writeln!(c, "    if (!intact(output_{i}) || !intact(output_{i} + GUARD + {bytes})) return 106;");
        let _ = writeln!(c, "    if (fwrite(output_{i} + GUARD, 1, {bytes}, out) != {bytes}) return 107;");
    }
    c += "    return fclose(out) ? 108 : 0;\n}\n";
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

/// Links `folder/libNAME.a` with a driver and runs it.
pub fn run(
    host: Host,
    folder: &Path,
    name: &str,
    ports: (&[Port], &[Port]),
    inputs: &[Tensor],
) -> Outcome<Vec<Tensor>> {
    let program = build(host, folder, name, ports)?;
    let (input, output) = (folder.join("inputs.bin"), folder.join("outputs.bin"));
    tools::write(&input, inputs.iter().flat_map(|t| t.data.to_vec()).collect::<Vec<u8>>())?;
    let mut words = host.runner.iter().map(PathBuf::from).chain([program]);
    let mut command = Command::new(words.next().unwrap_or_default());
    tools::run(command.args(words).args([&input, &output]))?;
    let mut bytes = Bytes::from(std::fs::read(&output).map_err(text)?);
    let mut outputs = Vec::new();
    for port in ports.1 {
        let shape = port.ty.shape.as_const().ok_or_else(|| format!("output '{}' is open", port.name))?;
        let size = port.ty.dtype.bytes_of(shape.iter().product());
        if bytes.len() < size {
            return Err(format!("the program wrote {} bytes for output '{}'", bytes.len(), port.name));
        }
        outputs.push(Tensor::new(port.ty.dtype, shape, bytes.split_to(size)).map_err(text)?);
    }
    Ok(outputs)
}

fn build(host: Host, folder: &Path, name: &str, (inputs, outputs): (&[Port], &[Port])) -> Outcome<PathBuf> {
    let (main, program) = (folder.join("main.c"), folder.join("main"));
    tools::write(&main, source(name, inputs.len(), outputs.len()))?;
    tools::link(host.cc, host.flags, &main, &[&folder.join(format!("lib{name}.a"))], &program)?;
    Ok(program)
}
