//! Kiln compiles trained ONNX models: to static libraries with a C header that need nothing, or to functions in this
//! process.
//!
//! ```
//! use kiln_compiler::{Compiler, Tensor};
//!
//! # fn main() -> Result<(), kiln_compiler::Error> {
//! # let folder = std::env::temp_dir().join(format!("kiln-lib-doc-{}", std::process::id()));
//! let compiler = Compiler::from_path("../tests/models/tiny/tiny_ic_resnet8.onnx").name("resnet8");
//!
//! // For a C program: libresnet8.a, resnet8.h and resnet8.report.json, for any machine of the target.
//! compiler.compile_to(&folder)?;
//!
//! // For this program, on two threads, with all that this machine has.
//! let model = compiler.jit(2)?;
//! let outputs = model.run(&[Tensor::from_vec(&[1, 3, 32, 32], vec![0.5f32; 3072])])?;
//! assert_eq!(outputs[0].shape, [1, 10]);
//! # std::fs::remove_dir_all(folder).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! Dimensions that the model leaves open need a value, [`Compiler::dim`]. [`Session`] runs without allocating, on memory
//! that it lends. [`Error`] tells models that are wrong from those that are not compiled yet and from disks that are full.

mod api;
mod codegen;
mod digest;
mod emit;
mod error;
mod flatten;
mod lines;
mod memory;
mod names;
mod passes;
mod peak;
mod pipeline;
mod planner;
mod read_only;
mod rules;
mod schedule;
mod tune;
mod variant;
mod work;

#[doc(inline)]
pub use api::{Artifact, Compiler, Emit};
#[cfg(feature = "ndarray")]
#[doc(inline)]
pub use emit::arrays;
#[doc(inline)]
pub use emit::jit::Model;
#[doc(inline)]
pub use emit::ports::PortKey;
#[doc(inline)]
pub use emit::runner::Runner;
#[doc(inline)]
pub use emit::session::Session;
#[doc(inline)]
pub use emit::views::{View, ViewMut};
#[doc(inline)]
pub use error::Error;
#[doc(inline)]
pub use kiln_ir::kernel::plan::Port;
#[doc(inline)]
pub use kiln_ir::tensor::Element;
#[doc(inline)]
pub use kiln_ir::{
    DType, Dim, Error as Problem, ErrorKind, Errors as Problems, Limits, Shape, Tensor, TensorType,
};

/// Everything inside, for the command, the tests and the benchmarks of this repository. Not part of the interface: it
/// changes without notice, and there is no promise behind it. It is a module rather than a feature, so that there is one
/// build of the library.
#[doc(hidden)]
pub mod internals {
    macro_rules! door {
        ($($module:ident)*) => { $(pub mod $module { pub use crate::$module::*; })* };
    }
    door! { api codegen digest emit flatten memory passes peak pipeline planner read_only rules schedule tune variant work }
}
