//! One artefact for many machines: what it picks, what it refuses, what it is made of.
//!
//! Lower machines than this one are emulated by `qemu-x86_64-static`. Nothing here runs elsewhere than on x86-64.
#![cfg(target_arch = "x86_64")]

use std::path::Path;
use std::process::Command;

use kiln_compiler::internals::pipeline;
use kiln_ir::Tensor;
use kiln_tests::driver::{self, Case, Host, NATIVE};
use kiln_tests::models::{self, Model};
use kiln_tests::{compare, stages, tools};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};

const KILN: &str = env!("CARGO_BIN_EXE_kiln-under-test");
const NAME: &str = "tiny_kws_dscnn";
const LIST: &str = "baseline,avx2,avx512";

/// Emulated processors and the level of the list that is right for them. The last has AVX2 and a system that does
/// not save its registers.
const EMULATED: [(&str, &str); 3] = [("Nehalem", "sse2"), ("Haswell", "avx2"), ("Haswell,-xsave", "sse2")];

fn model() -> Model {
    models::shipped().into_iter().find(|m| m.name == NAME).unwrap()
}

fn compile(cpu: &str, folder: &Path) {
    tools::kiln_compile(KILN, &model().path, folder, &["--cpu", cpu]).unwrap();
}

/// Whether processors can be emulated: always on CI.
fn emulates() -> bool {
    let there = tools::exists(tools::QEMU_X86_64);
    assert!(there || !tools::on_ci(), "apt-get install qemu-user-static");
    there
}

/// Levels that this machine runs, the best one last.
fn runnable() -> Vec<&'static str> {
    let native = kiln_targets::resolve("", "native", "").unwrap();
    let targets = kiln_targets::resolve_list("", &LIST.split(',').collect::<Vec<_>>(), "").unwrap();
    let runs = |t: &kiln_targets::Target| t.features.iter().all(|f| native.features.contains(f));
    targets.into_iter().filter(runs).map(|t| t.level).collect()
}

/// What the JIT makes of the inputs at a level.
fn expected(level: &str, inputs: &[Tensor]) -> Vec<Tensor> {
    let options = stages::options(level, 2).unwrap();
    let plan = pipeline::compile(model().graph().unwrap(), &options).unwrap();
    stages::run_jit(&plan, &options, 1, inputs).unwrap()
}

#[test]
fn the_best_variant_that_the_machine_allows_runs() {
    let folder = tempfile::tempdir().unwrap();
    compile(LIST, folder.path());
    let graph = model().graph().unwrap();
    let inputs = models::inputs(&graph).unwrap();
    let baseline = stages::options("baseline", 2).unwrap();
    let plan = pipeline::compile(graph, &baseline).unwrap();
    let run = |host: Host| driver::run_one(host, folder.path(), Case::new(NAME, &plan), &inputs).unwrap();
    let runnable = runnable();
    let best = runnable.last().unwrap();
    compare::same_bits(&run(NATIVE), &expected(best, &inputs)).unwrap();
    if !emulates() {
        return;
    }
    for (cpu, level) in EMULATED {
        if !runnable.contains(&level) {
            continue;
        }
        let outputs = run(Host {
            // QEMU 7.2 reads all lanes of `vmaskmovps`, which no processor does.
            flags: &["-std=c11", "-DGUARD=PROT_READ"],
            runner: &[tools::QEMU_X86_64, "-cpu", cpu],
            ..NATIVE
        });
        compare::same_bits(&outputs, &expected(level, &inputs)).unwrap_or_else(|e| panic!("{cpu}: {e}"));
    }
}

/// Results need not differ between levels, so the choice itself is read: its word is made visible to the program,
/// which ends with it as its exit code.
#[test]
fn the_choice_is_the_position_of_the_best_level() {
    let folder = tempfile::tempdir().unwrap();
    compile(LIST, folder.path());
    let library = folder.path().join(format!("lib{NAME}.a"));
    let visible = format!("--globalize-symbol={NAME}_variant");
    tools::run(Command::new("objcopy").arg(visible).arg(&library)).unwrap();
    let text = format!(
        "#include \"{NAME}.h\"
#define M(name) {NAME}_##name
extern int64_t M(variant);
static _Alignas(M(ARENA_ALIGN)) unsigned char arena[M(ARENA_BYTES)];
static float x[M(INPUT_0_ELEMENTS)], y[M(OUTPUT_0_ELEMENTS)];
int main(void) {{
    const void *in[] = {{ x }};
    void *out[] = {{ y }};
    if (M(variant)) return 100;
    if (M(run)(in, out, arena)) return 101;
    int64_t first = M(variant);
    if (M(run)(in, out, arena) || M(variant) != first) return 102;
    return (int)first;
}}
"
    );
    let (main, program) = (folder.path().join("main.c"), folder.path().join("main"));
    tools::write(&main, &text).unwrap();
    tools::link(tools::CC, &["-std=c11"], &main, &[&library], &program).unwrap();
    let choice = |command: &mut Command| command.status().unwrap().code();
    let position =
        |level: &str| ["sse2", "avx2", "avx512"].iter().position(|l| *l == level).map(|i| i as i32 + 1);
    assert_eq!(choice(&mut Command::new(&program)), position(runnable().last().unwrap()));
    if emulates() {
        for (cpu, level) in EMULATED {
            let found = choice(Command::new(tools::QEMU_X86_64).args(["-cpu", cpu]).arg(&program));
            assert_eq!(found, position(level), "{cpu}");
        }
    }
}

#[test]
fn code_above_the_machine_returns_a_status() {
    if !emulates() {
        return;
    }
    let text = format!(
        "#include \"{NAME}.h\"
#define M(name) {NAME}_##name
static _Alignas(M(ARENA_ALIGN)) unsigned char arena[M(ARENA_BYTES)];
static float x[M(INPUT_0_ELEMENTS)], y[M(OUTPUT_0_ELEMENTS)];
int main(void) {{
    const void *in[] = {{ x }};
    void *out[] = {{ y }};
    for (int i = 0; i < 3; i++) if (M(run)(in, out, arena) != M(UNSUPPORTED_CPU)) return 1;
    for (int i = 0; i < M(OUTPUT_0_ELEMENTS); i++) if (y[i]) return 2;
    for (int i = 0; i < M(ARENA_BYTES); i++) if (arena[i]) return 3;
    return M(run)(in, out, 0) != M(NULL_POINTER);
}}
"
    );
    let cases =
        [("avx2", "Nehalem"), ("avx2", "Haswell,-xsave"), ("avx512", "Haswell"), ("avx2,avx512", "Nehalem")];
    for (cpu, machine) in cases {
        let folder = tempfile::tempdir().unwrap();
        compile(cpu, folder.path());
        let (main, program) = (folder.path().join("main.c"), folder.path().join("main"));
        tools::write(&main, &text).unwrap();
        let library = folder.path().join(format!("lib{NAME}.a"));
        tools::link(tools::CC, &["-std=c11"], &main, &[&library], &program).unwrap();
        tools::run(Command::new(tools::QEMU_X86_64).args(["-cpu", machine]).arg(&program))
            .unwrap_or_else(|e| panic!("{cpu} on {machine}: {e}"));
    }
}

/// Undefined symbols of a library, and the bytes of its writable data.
fn needs(folder: &Path) -> (Vec<String>, u64) {
    let bytes = std::fs::read(folder.join(format!("lib{NAME}.a"))).unwrap();
    let archive = object::read::archive::ArchiveFile::parse(&*bytes).unwrap();
    let (mut undefined, mut writable) = (Vec::new(), 0);
    for member in archive.members() {
        let file = object::File::parse(member.unwrap().data(&*bytes).unwrap()).unwrap();
        let names = file.symbols().filter(|s| s.is_undefined()).map(|s| s.name().unwrap().to_owned());
        undefined.extend(names.filter(|name| !name.is_empty()));
        let data = file.sections().filter(|s| {
            !matches!(s.kind(), SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString)
                && matches!(s.flags(), object::SectionFlags::Elf { sh_flags } if sh_flags & 1 != 0)
        });
        writable += data.map(|s| s.size()).sum::<u64>();
    }
    (undefined, writable)
}

/// Invariant 9: the only thing kept between calls is the choice, where there is one.
#[test]
fn only_a_choice_is_kept() {
    for (cpu, bytes) in [("baseline", 0), ("avx2", 8), (LIST, 8)] {
        let folder = tempfile::tempdir().unwrap();
        compile(cpu, folder.path());
        assert_eq!(needs(folder.path()), (Vec::new(), bytes), "{cpu}");
    }
}

#[test]
fn lists_give_the_same_bytes_in_any_order_and_hashes_tell_them_apart() {
    let files = |cpu: &str| {
        let folder = tempfile::tempdir().unwrap();
        compile(cpu, folder.path());
        let read = |name: String| std::fs::read(folder.path().join(name)).unwrap();
        (read(format!("lib{NAME}.a")), read(format!("{NAME}.h")))
    };
    let list = files(LIST);
    assert!(list == files(LIST) && list == files("avx512,baseline,haswell"));
    let hash = |header: &[u8]| {
        let text = String::from_utf8_lossy(header).into_owned();
        text.lines().find(|l| l.contains("_HASH")).unwrap().to_owned()
    };
    let others = ["baseline", "avx2", "baseline,avx2"].map(|cpu| hash(&files(cpu).1));
    assert!(others.iter().all(|other| *other != hash(&list.1)), "{others:?}");
    assert!(others[0] != others[1] && others[1] != others[2] && others[0] != others[2], "{others:?}");
}

#[test]
fn answer_and_report_tell_of_every_variant() {
    let answer = |cpu: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = model().path;
        let arguments: [&std::ffi::OsStr; 7] = [
            "compile".as_ref(),
            path.as_ref(),
            "-o".as_ref(),
            folder.path().as_ref(),
            "--cpu".as_ref(),
            cpu.as_ref(),
            "--json".as_ref(),
        ];
        let ended = tools::kiln(KILN, &arguments).unwrap();
        let report = std::fs::read(folder.path().join(format!("{NAME}.report.json"))).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        (answer, serde_json::from_slice::<serde_json::Value>(&report).unwrap())
    };
    let (list, report) = answer(LIST);
    let number = |value: &serde_json::Value, key: &str| value[key].as_u64().unwrap();
    let variants = list["variants"].as_array().unwrap();
    let levels: Vec<&str> = variants.iter().map(|v| v["cpu"].as_str().unwrap()).collect();
    assert_eq!(levels, ["sse2", "avx2", "avx512"]);
    let all = |key: &str| variants.iter().map(|v| number(v, key)).collect::<Vec<_>>();
    assert_eq!(number(&list, "arena_bytes"), *all("arena_bytes").iter().max().unwrap());
    assert!(number(&list, "code_bytes") > all("code_bytes").iter().sum());
    assert_eq!(list["features"], serde_json::json!([]));
    let mut alone = Vec::new();
    for (i, cpu) in ["baseline", "avx2", "avx512"].into_iter().enumerate() {
        let (single, _) = answer(cpu);
        for key in ["arena_bytes", "features"] {
            assert_eq!(variants[i][key], single[key], "{cpu}");
        }
        alone.push(number(&single, "weights_bytes"));
    }
    // The levels share their weights.
    let (together, alone) = (number(&list, "weights_bytes"), *alone.iter().max().unwrap());
    assert!(10 * together <= 11 * alone, "{together} bytes of weights, {alone} for one level");
    for (i, variant) in report["variants"].as_array().unwrap().iter().enumerate() {
        assert_eq!(variant["code_bytes"], variants[i]["code_bytes"]);
        let kernels = variant["kernels"].as_array().unwrap();
        assert!(!kernels.is_empty() && kernels.iter().all(|k| k["code_bytes"].is_u64()));
    }
    assert_eq!(report["hash"].as_str().unwrap().len(), 64);
}
