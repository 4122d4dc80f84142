//! `libNAME.so`: the object as a shared library, linked by the C compiler of the target.
//!
//! It exports `NAME_run` and `NAME_run_parallel` and nothing else, and needs no other library. Its stack is not executable,
//! and what is relocated when it is loaded is read-only from then on.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use kiln_ir::Error;
use target_lexicon::{BinaryFormat, HOST, Triple};

use crate::error::Error as ApiError;

/// Links the object file at `object` to the library at `library`; `script` is where the linker's script goes.
///
/// # Errors
///
/// *Unsupported* for systems whose objects are no ELF files; *environment* where there is no compiler for the target, or
/// it fails.
pub fn link(
    library: &Path,
    object: &Path,
    script: &Path,
    name: &str,
    triple: &Triple,
) -> Result<(), ApiError> {
    if triple.binary_format != BinaryFormat::Elf {
        return Err(Error::unsupported(format!("shared libraries for {triple} are not supported"))
            .hint(format!("link lib{name}.a (--emit lib) into a library of your own"))
            .into());
    }
    let exported = format!("{{ global: {name}_run; {name}_run_parallel; local: *; }};\n");
    std::fs::write(script, exported).map_err(|e| ApiError::write(script.to_owned(), e))?;
    let compiler = compiler(triple);
    let mut command = Command::new(&compiler);
    command.args(["-shared", "-nostdlib", "-Wl,--build-id=none", "-Wl,--no-undefined", "-Wl,-z,noexecstack"]);
    command.args(["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,text"]);
    command.arg(format!("-Wl,-soname,lib{name}.so"));
    let mut versions = OsString::from("-Wl,--version-script=");
    versions.push(script);
    command.arg(versions).arg(object).arg("-o").arg(library);
    let shown = compiler.to_string_lossy().into_owned();
    let output = command.output().map_err(|e| {
        Error::environment(format!("a shared library is linked by a C compiler for {triple}: {shown}: {e}"))
            .hint(format!("install one, or name it in {}", variable(triple)))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default();
    Err(Error::environment(format!("{shown} does not link lib{name}.so: {}: {said}", output.status))
        .hint(format!("{} names another compiler for {triple}", variable(triple)))
        .into())
}

/// The variable that names the compiler for a target, as build scripts have it.
fn variable(triple: &Triple) -> String {
    format!("CC_{}", triple.to_string().replace('-', "_"))
}

/// The compiler: the one that the environment names, `cc` of this machine, else the cross compiler by its usual name.
fn compiler(triple: &Triple) -> OsString {
    let named = |variable: &str| std::env::var_os(variable).filter(|name| !name.is_empty());
    if let Some(compiler) = named(&variable(triple)) {
        return compiler;
    }
    if triple.architecture == HOST.architecture && triple.operating_system == HOST.operating_system {
        return named("CC").unwrap_or_else(|| "cc".into());
    }
    let Triple { architecture, operating_system, environment, .. } = triple;
    format!("{architecture}-{operating_system}-{environment}-gcc").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_have_the_names_that_distributions_give_them() {
        let compiler = |triple: &str| compiler(&triple.parse().unwrap()).into_string().unwrap();
        assert_eq!(compiler("aarch64-unknown-linux-gnu"), "aarch64-linux-gnu-gcc");
        assert_eq!(variable(&"aarch64-unknown-linux-gnu".parse().unwrap()), "CC_aarch64_unknown_linux_gnu");
    }

    #[test]
    fn what_is_no_elf_is_refused() {
        let nowhere = Path::new("nowhere");
        for triple in ["x86_64-pc-windows-msvc", "aarch64-apple-darwin"] {
            let error = link(nowhere, nowhere, nowhere, "m", &triple.parse().unwrap()).unwrap_err();
            assert!(error.to_string().contains("libm.a"), "{error}");
        }
    }
}
