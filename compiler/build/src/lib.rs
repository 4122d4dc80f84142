//! Compiles models in build scripts: one line in `build.rs`, one where the model is used.
//!
//! ```no_run
//! // build.rs
//! fn main() {
//!     kiln_build::model("models/digits.onnx").compile();
//! }
//! ```
//!
//! ```ignore
//! // src/main.rs
//! mod digits {
//!     include!(concat!(env!("OUT_DIR"), "/digits.rs"));
//! }
//! ```
//!
//! The model is compiled for the target that cargo builds for and linked into the crate. The module has its inputs and
//! outputs as arrays of their types, `run`, and memory for it (`Arena`); it needs no standard library. It is made again
//! when the model changes.

#![allow(clippy::needless_doctest_main)] // a build script is a program

use std::path::{Path, PathBuf};

use kiln_compiler::{Artifact, Compiler, Emit, Error};

/// A model that is to be compiled. The path is relative to the crate, as build scripts run there.
pub fn model(path: impl AsRef<Path>) -> Build {
    let path = path.as_ref().to_owned();
    Build { compiler: Compiler::from_path(&path), path, name: None }
}

/// How a model is compiled and linked.
#[derive(Clone, Debug)]
pub struct Build {
    compiler: Compiler,
    path: PathBuf,
    name: Option<String>,
}

impl Build {
    /// The name of the module's file and the prefix of every symbol: a C identifier. By default the file's stem, made one.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Every other option: `|c| c.dim("batch", 1).cpu("avx2")`.
    pub fn with(mut self, options: impl FnOnce(Compiler) -> Compiler) -> Self {
        self.compiler = options(self.compiler);
        self
    }

    /// Compiles, and tells cargo to link it and what it depends on. A failure is told as cargo tells errors, and ends the
    /// build script.
    pub fn compile(self) -> Artifact {
        let variable = |name: &str| {
            std::env::var(name)
                .unwrap_or_else(|_| fail(&format!("{name} is not set: this is for build scripts")))
        };
        let (target, folder) = (variable("TARGET"), variable("OUT_DIR"));
        println!("cargo::rerun-if-changed={}", self.path.display());
        let path = self.path.clone();
        match self.compile_for(&target, Path::new(&folder)) {
            Ok((artifact, name)) => {
                println!("cargo::rustc-link-search=native={folder}");
                println!("cargo::rustc-link-lib=static={name}");
                artifact
            }
            Err(error) => fail(&format!("{}: {error}", path.display())),
        }
    }

    /// Compiles for a target triple into a folder: the library, and the module `NAME.rs`. Gives the name too.
    pub fn compile_for(self, target: &str, folder: &Path) -> Result<(Artifact, String), Error> {
        let mut compiler = self.compiler.target(target).emit(&[Emit::Lib, Emit::Rust]);
        if let Some(name) = &self.name {
            compiler = compiler.name(name);
        }
        let artifact = compiler.compile_to(folder)?;
        let name = artifact.files[1].file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok((artifact, name))
    }
}

/// Each line an error of cargo's, then the end.
fn fail(text: &str) -> ! {
    text.lines().for_each(|line| println!("cargo::error={line}"));
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_and_a_module_for_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let path = "../../tests/models/tiny/tiny_ic_resnet8.onnx";
        for (target, name) in [("x86_64-unknown-linux-musl", None), ("aarch64-unknown-none", Some("resnet8"))]
        {
            let build = name.map_or_else(|| model(path), |name| model(path).name(name));
            let (artifact, name) = build.compile_for(target, folder.path()).unwrap();
            assert!(["tiny_ic_resnet8", "resnet8"].contains(&&*name));
            assert_eq!(artifact.files[0], folder.path().join(format!("lib{name}.a")));
            let module = std::fs::read_to_string(&artifact.files[1]).unwrap();
            assert!(module.contains("&'a [f32; 3072]"), "{module}");
        }
        let error = model(path).compile_for("sparc-unknown-linux-gnu", folder.path()).unwrap_err();
        assert!(error.to_string().contains("sparc"), "{error}");
    }

    /// Linked and run at several sizes; what does not go together is refused.
    #[test]
    fn open_dimensions_take_sizes_and_slices() {
        let folder = tempfile::tempdir().unwrap();
        let path = "../../tests/models/seed_cifar10/wm_025_aug_float.onnx";
        let build = model(path).name("cifar10").with(|c| c.open_dim("unk__130", 1..=4, None));
        let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        build.compile_for(&host, folder.path()).unwrap();
        let main = r#"
            mod cifar10 {
                include!("cifar10.rs");
            }
            use cifar10::{Arena, Failure, Inputs, Outputs, Sizes, run};

            fn main() {
                let mut arena = Box::new(Arena::new());
                let pixels: Vec<f32> = (0..3 * 3072).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
                let mut call = |x: &[f32], y: &mut [f32], n: i64| {
                    run(Inputs { input_102: x }, Outputs { identity: y }, &mut arena, Sizes { unk_130: n })
                };
                let mut three = [0.0; 30];
                call(&pixels, &mut three, 3).unwrap();
                for (image, row) in pixels.chunks(3072).zip(three.chunks(10)) {
                    let mut one = [0.0; 10];
                    call(image, &mut one, 1).unwrap();
                    assert!(one.iter().zip(row).all(|(a, b)| (a - b).abs() < 1e-5), "{one:?} {row:?}");
                }
                assert_eq!(call(&pixels, &mut three, 0), Err(Failure::DimensionOutOfBounds));
                assert_eq!(call(&pixels, &mut three, 5), Err(Failure::DimensionOutOfBounds));
                assert_eq!(call(&pixels, &mut three[..29], 3), Err(Failure::TooShort));
                assert_eq!(call(&pixels[1..], &mut three, 3), Err(Failure::TooShort));
                assert_eq!(Outputs::identity_shape(&Sizes::MAX), [4, 10]);
            }"#;
        std::fs::write(folder.path().join("main.rs"), main).unwrap();
        let flags =
            ["--edition", "2024", "-D", "warnings", "-A", "dead_code", "-L", ".", "-l", "static=cifar10"];
        let built = std::process::Command::new(std::env::var("RUSTC").unwrap_or("rustc".into()))
            .args(flags)
            .arg("main.rs")
            .current_dir(folder.path())
            .output();
        // What was built elsewhere may run where there is no compiler.
        let Ok(built) = built else { return };
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let run = std::process::Command::new(folder.path().join("main")).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
}
