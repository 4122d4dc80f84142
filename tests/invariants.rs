//! The invariants of ARCHITECTURE.md, one or more tests each.

use std::collections::BTreeSet;

use kiln_compiler::internals::{memory, pipeline};
use kiln_ir::kernel::plan::{FlatAccess, Plan, Storage};
use kiln_ir::kernel::{self, Form};
use kiln_ir::{Tensor, graph};
use kiln_tests::models::{self, Model};
use kiln_tests::modules;
use kiln_tests::repository;
use kiln_tests::sources::{self, find};
use kiln_tests::stages::{self, Trace};

/// Names in `[dependencies]` of a crate's manifest.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(repository().join(folder).join("Cargo.toml")).unwrap();
    let lines = manifest.lines().skip_while(|l| *l != "[dependencies]").skip(1);
    let lines = lines.take_while(|l| !l.starts_with('[')).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|l| l.split(['.', ' ', '=']).next().unwrap_or_default().to_owned()).collect()
}

/// Invariant 1.
#[test]
fn ir_knows_no_machine_no_file_format_and_does_no_io() {
    let allowed = ["bytemuck", "bytes", "half", "petgraph"].map(str::to_owned);
    let found = dependencies("ir");
    assert!(found.is_subset(&BTreeSet::from(allowed)), "{found:?}");
    let ir = sources::of(&["ir"]);
    for word in [
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::io",
        "cranelift",
        "protobuf",
        "print!",
        "println!",
    ] {
        assert_eq!(find(&ir, word), [""; 0], "{word}");
    }
}

/// Dependencies point one way: `ir <- targets`, `ir <- onnx`, both below the library, then what works on models with
/// data, the quantiser, the pruner and what is told above it, then the session, the command
/// on top; `runtime` stands alone.
#[test]
fn dependencies_point_one_way() {
    let kiln = |folder: &str| {
        dependencies(folder).into_iter().filter(|d| d.starts_with("kiln-")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kiln("ir"), "");
    assert_eq!(kiln("runtime"), "");
    assert_eq!(kiln("targets"), "kiln-ir");
    assert_eq!(kiln("compiler/onnx"), "kiln-ir");
    assert_eq!(kiln("compiler"), "kiln-ir kiln-onnx kiln-runtime kiln-targets");
    assert_eq!(kiln("calibrate"), "kiln-compiler kiln-ir kiln-onnx");
    assert_eq!(kiln("quantize"), "kiln-calibrate kiln-compiler kiln-ir kiln-onnx");
    assert_eq!(kiln("prune"), "kiln-calibrate kiln-compiler kiln-ir kiln-onnx");
    assert_eq!(kiln("tools"), "kiln-compiler kiln-ir kiln-targets");
    assert_eq!(
        kiln("repl"),
        "kiln-calibrate kiln-compiler kiln-ir kiln-onnx kiln-prune kiln-quantize kiln-targets kiln-tools"
    );
    let below = "kiln-calibrate kiln-compiler kiln-ir kiln-onnx kiln-prune kiln-quantize kiln-repl kiln-targets kiln-tools";
    assert_eq!(kiln("compiler/cli"), below);
}

/// What a build script that compiles a model has to build: nothing for terminals, nothing but the importer reads
/// protobuf.
#[test]
fn the_library_carries_nothing_of_the_command() {
    let library: BTreeSet<String> = ["ir", "targets", "runtime", "compiler/onnx", "compiler"]
        .iter()
        .flat_map(|f| dependencies(f))
        .collect();
    for word in ["anstream", "anstyle", "clap", "indicatif", "libc", "npyz", "rustyline"] {
        assert!(!library.contains(word), "{word}");
    }
    for folder in [
        "ir",
        "targets",
        "runtime",
        "compiler",
        "calibrate",
        "quantize",
        "prune",
        "tools",
        "repl",
        "compiler/cli",
    ] {
        let found = dependencies(folder);
        assert!(!found.iter().any(|d| d.contains("protobuf")), "{folder}: {found:?}");
    }
}

/// The folders of all crates but tests and benches.
const CRATES: [&str; 12] = [
    "ir",
    "targets",
    "compiler/onnx",
    "compiler",
    "calibrate",
    "quantize",
    "prune",
    "tools",
    "repl",
    "compiler/cli",
    "compiler/build",
    "runtime",
];

/// Within a crate modules use each other one way.
#[test]
fn modules_use_each_other_in_no_circle() {
    for folder in CRATES {
        assert_eq!(modules::circles(folder), [[""; 0]; 0], "{folder}");
    }
}

fn files_that_name(word: &str) -> Vec<String> {
    let all = sources::of(&CRATES);
    all.into_iter().filter(|s| s.code.contains(word)).map(|s| s.path).collect()
}

#[test]
fn one_file_names_petgraph() {
    assert_eq!(files_that_name("petgraph::"), ["ir/src/graph/graph.rs"]);
}

/// Invariant 11: only these two files know which kind of module they fill.
#[test]
fn jit_and_object_part_at_the_module() {
    assert_eq!(files_that_name("cranelift_jit"), ["compiler/src/emit/host.rs"]);
    assert_eq!(files_that_name("cranelift_object"), ["compiler/src/emit/object.rs"]);
}

/// Invariant 5.
#[test]
fn no_architecture_is_named_outside_targets() {
    let elsewhere: Vec<&str> = CRATES.into_iter().filter(|folder| *folder != "targets").collect();
    let elsewhere = sources::of(&elsewhere);
    for word in [
        "target_arch",
        "x86_64",
        "X86_64",
        "aarch64",
        "Aarch64",
        "Architecture::",
        "\"avx",
        "\"sse",
        "\"neon",
    ] {
        assert_eq!(find(&elsewhere, word), [""; 0], "{word}");
    }
}

/// Invariant 4, the half of code generation: it reads no cache size, no register count, no table of tiles.
#[test]
fn code_generation_decides_nothing() {
    let mut sources = sources::of(&["compiler"]);
    sources.retain(|s| s.path.starts_with("compiler/src/codegen/"));
    assert!(sources.len() > 5);
    for word in ["l1d_bytes", "l2_bytes", "f32_tiles", "tile_unroll", "vector_registers"] {
        assert_eq!(find(&sources, word), [""; 0], "{word}");
    }
}

/// The compiler builds on every host: emitted code is called through one type, which each host has.
#[test]
fn one_file_names_a_foreign_convention() {
    let all = sources::texts(&["ir", "targets", "compiler", "runtime", "tests", "benches"]);
    let foreign = ["sysv64", "win64", "vectorcall", "fastcall", "aapcs", "stdcall"];
    let foreign = foreign.map(|abi| format!("extern \"{abi}"));
    let names = |text: &str| foreign.iter().any(|abi| text.contains(abi));
    let files: Vec<_> = all.iter().filter(|(_, text)| names(text)).map(|(path, _)| path.as_str()).collect();
    assert_eq!(files, ["targets/src/call.rs"]);
}

/// Invariant 4: schedules are made before there is code.
#[test]
fn schedules_know_nothing_of_code_generation() {
    let mut sources = sources::of(&["compiler"]);
    sources.retain(|s| s.path.starts_with("compiler/src/schedule/"));
    assert!(sources.len() > 5);
    assert_eq!(find(&sources, "codegen"), [""; 0]);
}

/// A model after every pass, at every level.
fn traces() -> impl Iterator<Item = (Model, u8, Trace)> {
    models::shipped().into_iter().flat_map(|model| {
        [0, 1, 2].map(|opt| {
            let trace = stages::trace(model.graph().unwrap(), &stages::options("baseline", opt).unwrap());
            (model.clone(), opt, trace.unwrap())
        })
    })
}

/// Invariants 2 and 3.
#[test]
fn verifiers_accept_and_text_round_trips_after_every_pass() {
    for (model, opt, trace) in traces() {
        for (pass, graph) in &trace.graphs {
            let place = format!("{} --opt {opt} after {pass}", model.name);
            graph::verify(graph).unwrap_or_else(|e| panic!("{place}: {e}"));
            let back = graph::parse(&graph.to_string()).unwrap_or_else(|e| panic!("{place}: {e}"));
            assert!(back == *graph, "{place}: the text reads as another graph");
        }
        for (pass, program) in &trace.programs {
            let place = format!("{} --opt {opt} after {pass}", model.name);
            kernel::verify(program).unwrap_or_else(|e| panic!("{place}: {e}"));
            let back = kernel::parse(&program.to_string()).unwrap_or_else(|e| panic!("{place}: {e}"));
            assert!(back == *program, "{place}: the text reads as another program");
        }
    }
}

/// Invariant 7, from the kernels' side: what a kernel touches in the arena is alive, and nothing else alive then
/// lies there.
#[test]
fn live_buffers_never_overlap() {
    for (model, opt, Trace { plan, .. }) in traces() {
        let place = format!("{} --opt {opt}", model.name);
        memory::verify(&plan.slots, plan.arena_bytes, plan.arena_align).unwrap();
        assert!(plan.arena_align.is_power_of_two());
        assert!(plan.arena_bytes >= plan.arena_lower_bound_bytes, "{place}");
        for weight in &plan.weights {
            assert_eq!(weight.offset_bytes % plan.arena_align, 0, "{place}: {}", weight.name);
            assert!(weight.offset_bytes + weight.tensor.data.len() <= plan.weights_bytes, "{place}");
        }
        for slot in &plan.slots {
            assert_eq!(slot.offset_bytes % plan.arena_align, 0, "{place}: {}", slot.name);
        }
        for (i, kernel) in plan.kernels.iter().enumerate() {
            for access in accesses(&kernel.form) {
                let Storage::Arena { offset_bytes } = access.storage else { continue };
                let alive = plan.slots.iter().filter(|s| s.counts_in(i));
                let holding =
                    alive.filter(|s| (s.offset_bytes..s.offset_bytes + s.bytes).contains(&offset_bytes));
                assert_eq!(holding.count(), 1, "{place}: kernel '{}', buffer '{}'", kernel.name, access.name);
            }
        }
    }
}

fn accesses(form: &Form<FlatAccess>) -> Vec<&FlatAccess> {
    form.stores().into_iter().chain(form.loads()).collect()
}

fn small_plan() -> (Plan, pipeline::Options, Vec<Tensor>) {
    let model = models::smallest().remove(0);
    let graph = model.graph().unwrap();
    let inputs = models::inputs(&graph).unwrap();
    let options = stages::options("baseline", 2).unwrap();
    (pipeline::compile(graph, &options).unwrap(), options, inputs)
}

/// Invariant 9: one model, many threads, each run with an arena of its own.
#[test]
fn compiled_models_are_reentrant() {
    let (plan, options, inputs) = small_plan();
    let model = kiln_compiler::internals::emit::jit::Model::new(plan, &options.target, 1).unwrap();
    let expected = model.run(&inputs).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(model.run(&inputs).unwrap(), expected);
                }
            });
        }
    });
}

/// Invariant 10.
#[test]
fn the_same_input_gives_the_same_bytes() {
    for model in models::smallest() {
        for options in [stages::options("baseline", 2), stages::aarch64_options()] {
            let options = options.unwrap();
            let mut files = Vec::new();
            for _ in 0..2 {
                let folder = tempfile::tempdir().unwrap();
                let plan = pipeline::compile(model.graph().unwrap(), &options).unwrap();
                stages::write_library(folder.path(), &model.name, plan, &options).unwrap();
                let read = |name: String| std::fs::read(folder.path().join(name)).unwrap();
                files.push((read(format!("lib{}.a", model.name)), read(format!("{}.h", model.name))));
            }
            assert!(files[0] == files[1], "{} for {}", model.name, options.target.triple);
        }
    }
}

/// Invariant 4, the half of schedules: the same plan whatever ran before, and for each target its own.
#[test]
fn plans_depend_on_model_and_target_alone() {
    for model in models::smallest() {
        let plan = |options: &pipeline::Options| pipeline::compile(model.graph().unwrap(), options).unwrap();
        let (here, there) = (stages::options("baseline", 2).unwrap(), stages::aarch64_options().unwrap());
        let first = plan(&here);
        let other = plan(&there);
        assert!(plan(&here) == first && plan(&there) == other, "{}", model.name);
    }
}
