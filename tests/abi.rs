//! What a C or C++ program meets: libraries that need nothing, headers that go together, status codes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::driver::{self, Signature};
use kiln_tests::models::{self, Model};
use kiln_tests::tools;
use object::{Object, ObjectSymbol};

const KILN: &str = env!("CARGO_BIN_EXE_kiln-under-test");

/// Several levels in one artefact.
const LIST: &str = "baseline,avx2,avx512";

/// The lowest level, and a list where this machine takes one.
fn cpus() -> &'static [&'static str] {
    if cfg!(target_arch = "x86_64") { &["baseline", LIST] } else { &["baseline"] }
}

/// A model with an input and an output of f32, compiled into a folder.
fn compiled(name: &str, folder: &Path) -> Model {
    compiled_for("baseline", name, folder)
}

fn compiled_for(cpu: &str, name: &str, folder: &Path) -> Model {
    let model = models::shipped().into_iter().find(|m| m.name == name).unwrap();
    tools::kiln_compile(KILN, &model.path, folder, &["--cpu", cpu]).unwrap();
    model
}

/// Undefined and exported symbols of the members of an archive.
fn symbols(archive: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let bytes = std::fs::read(archive).unwrap();
    let file = object::read::archive::ArchiveFile::parse(&*bytes).unwrap();
    let (mut undefined, mut exported) = (BTreeSet::new(), BTreeSet::new());
    for member in file.members() {
        let data = member.unwrap().data(&*bytes).unwrap();
        for symbol in object::File::parse(data).unwrap().symbols() {
            let name = symbol.name().unwrap().to_owned();
            if symbol.is_undefined() && !name.is_empty() {
                undefined.insert(name);
            } else if symbol.is_global() {
                exported.insert(name);
            }
        }
    }
    (undefined, exported)
}

#[test]
fn libraries_link_alone_and_export_only_their_prefix() {
    for model in models::shipped() {
        let folder = tempfile::tempdir().unwrap();
        tools::kiln_compile(KILN, &model.path, folder.path(), &[]).unwrap();
        let library = folder.path().join(format!("lib{}.a", model.name));
        let (undefined, exported) = symbols(&library);
        assert_eq!(undefined, BTreeSet::new(), "{}", model.name);
        let prefix = format!("{}_", model.name);
        assert!(exported.contains(&format!("{prefix}run")), "{exported:?}");
        assert!(exported.contains(&format!("{prefix}run_parallel")), "{exported:?}");
        assert!(exported.iter().all(|s| s.starts_with(&prefix)), "{exported:?}");
        let main = folder.path().join("main.c");
        let signature = Signature { name: &model.name, inputs: 1, outputs: 1, open: false, counted: false };
        tools::write(&main, driver::source(&[signature])).unwrap();
        tools::link(tools::CC, &["-Wall", "-Werror"], &main, &[&library], &folder.path().join("main"))
            .unwrap();
    }
}

#[test]
fn nm_finds_nothing_undefined() {
    let folder = tempfile::tempdir().unwrap();
    compiled("tiny_kws_dscnn", folder.path());
    let library = folder.path().join("libtiny_kws_dscnn.a");
    let output = tools::run(Command::new("nm").arg("-u").arg(library)).unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let symbols: Vec<&str> = lines.lines().filter(|l| l.trim_start().starts_with("U ")).collect();
    assert!(symbols.is_empty(), "{lines}");
}

/// Builds and runs a program over the libraries in a folder; its exit code must be 0.
fn program(folder: &Path, compiler: &str, flags: &[&str], file: &str, text: &str, libraries: &[&str]) {
    tools::run(&mut Command::new(linked(folder, compiler, flags, file, text, libraries))).unwrap();
}

/// The same, built only.
fn linked(
    folder: &Path,
    compiler: &str,
    flags: &[&str],
    file: &str,
    text: &str,
    libraries: &[&str],
) -> PathBuf {
    let (main, program) = (folder.join(file), folder.join("main"));
    tools::write(&main, text).unwrap();
    let libraries: Vec<_> = libraries.iter().map(|name| folder.join(format!("lib{name}.a"))).collect();
    let libraries: Vec<&Path> = libraries.iter().map(|p| &**p).collect();
    tools::link(compiler, flags, &main, &libraries, &program).unwrap();
    program
}

#[test]
fn two_models_link_into_one_program() {
    let names = ["tiny_kws_dscnn", "wm_005_aug_float"];
    let mut text = String::from("#include \"tiny_kws_dscnn.h\"\n#include \"wm_005_aug_float.h\"\n");
    for name in names {
        text += &format!(
            "static _Alignas({name}_ARENA_ALIGN) unsigned char {name}_arena[{name}_ARENA_BYTES];
             static float {name}_x[{name}_INPUT_0_ELEMENTS], {name}_y[{name}_OUTPUT_0_ELEMENTS];\n"
        );
    }
    text += "int main(void) {\n";
    for name in names {
        // Both networks end in a softmax: the sum tells that they ran.
        text += &format!(
            "{{ const void *in[] = {{ {name}_x }}; void *out[] = {{ {name}_y }};
               if ({name}_run(in, out, {name}_arena) != {name}_OK) return 1;
               float sum = 0; for (int i = 0; i < {name}_OUTPUT_0_ELEMENTS; i++) sum += {name}_y[i];
               if (!(sum > 0.999f && sum < 1.001f)) return 2; }}\n"
        );
    }
    text += "return 0; }\n";
    for cpu in cpus() {
        let folder = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| _ = compiled_for(cpu, name, folder.path()));
        program(
            folder.path(),
            tools::CC,
            &["-std=c11", "-Wall", "-Wextra", "-Werror"],
            "main.c",
            &text,
            &names,
        );
    }
}

#[test]
fn headers_are_cpp_too() {
    let folder = tempfile::tempdir().unwrap();
    compiled("tiny_kws_dscnn", folder.path());
    let text = "#include \"tiny_kws_dscnn.h\"
#include <vector>
alignas(tiny_kws_dscnn_ARENA_ALIGN) static unsigned char arena[tiny_kws_dscnn_ARENA_BYTES];
int main() {
    const int64_t shape[] = tiny_kws_dscnn_INPUT_0_SHAPE;
    static_assert(sizeof shape / sizeof *shape == tiny_kws_dscnn_INPUT_0_RANK, \"rank\");
    std::vector<tiny_kws_dscnn_INPUT_0_CTYPE> x(tiny_kws_dscnn_INPUT_0_ELEMENTS);
    std::vector<tiny_kws_dscnn_OUTPUT_0_CTYPE> y(tiny_kws_dscnn_OUTPUT_0_ELEMENTS);
    const void *in[] = { x.data() };
    void *out[] = { y.data() };
    return tiny_kws_dscnn_run(in, out, arena);
}
";
    let flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror"];
    program(folder.path(), tools::CXX, &flags, "main.cpp", text, &["tiny_kws_dscnn"]);
}

/// A C program with everything in place to run `tiny_kws_dscnn`.
const PRELUDE: &str = "#include <string.h>
#include \"tiny_kws_dscnn.h\"
#define M(name) tiny_kws_dscnn_##name
static _Alignas(M(ARENA_ALIGN)) unsigned char arena[M(ARENA_BYTES) + M(ARENA_ALIGN)];
static float x[M(INPUT_0_ELEMENTS)], y[M(OUTPUT_0_ELEMENTS)], z[M(OUTPUT_0_ELEMENTS)];
static void fill(void) { for (int i = 0; i < M(INPUT_0_ELEMENTS); i++) x[i] = (float)(i % 17) / 8 - 1; }
";

#[test]
fn misuse_gives_status_codes() {
    let folder = tempfile::tempdir().unwrap();
    compiled("tiny_kws_dscnn", folder.path());
    let text = format!(
        "{PRELUDE}
int main(void) {{
    const void *in[] = {{ x }}, *no_in[] = {{ 0 }};
    void *out[] = {{ y }}, *no_out[] = {{ 0 }};
    fill();
    if (M(run)(in, out, 0) != M(NULL_POINTER)) return 1;
    if (M(run)(0, out, arena) != M(NULL_POINTER)) return 2;
    if (M(run)(in, 0, arena) != M(NULL_POINTER)) return 3;
    if (M(run)(no_in, out, arena) != M(NULL_POINTER)) return 4;
    if (M(run)(in, no_out, arena) != M(NULL_POINTER)) return 5;
    for (int i = 1; i < M(ARENA_ALIGN); i++)
        if (M(run)(in, out, arena + i) != M(MISALIGNED_ARENA)) return 6;
    for (int i = 0; i < M(OUTPUT_0_ELEMENTS); i++) if (y[i]) return 7;
    if (M(run)(in, out, arena) != M(OK)) return 8;
    if (M(run_parallel)(in, out, 0, 0, 0) != M(NULL_POINTER)) return 9;
    return 0;
}}
"
    );
    program(folder.path(), tools::CC, &["-std=c11"], "main.c", &text, &["tiny_kws_dscnn"]);
}

#[test]
fn inputs_need_no_more_than_their_types_alignment() {
    let folder = tempfile::tempdir().unwrap();
    compiled("tiny_kws_dscnn", folder.path());
    let text = format!(
        "{PRELUDE}
static float room[M(INPUT_0_ELEMENTS) + 16], place[M(OUTPUT_0_ELEMENTS) + 16];
int main(void) {{
    const void *in[] = {{ x }};
    void *out[] = {{ y }};
    fill();
    if (M(run)(in, out, arena)) return 1;
    for (int i = 0; i < 16; i++) {{
        memcpy(room + i, x, sizeof x);
        const void *in[] = {{ room + i }};
        void *out[] = {{ place + i }};
        if (M(run)(in, out, arena)) return 2;
        if (memcmp(place + i, y, sizeof y)) return 3;
    }}
    return 0;
}}
"
    );
    program(folder.path(), tools::CC, &["-std=c11"], "main.c", &text, &["tiny_kws_dscnn"]);
}

#[test]
fn the_callers_threads_change_no_bit() {
    let text = format!(
        "#include <pthread.h>
{PRELUDE}
struct work {{ M(task) task; void *closure; size_t index; }};
static void *one(void *p) {{ struct work *w = p; w->task(w->closure, w->index); return 0; }}
/* Backwards, each piece on a thread of its own. */
static void threads(void *context, M(task) task, void *closure, size_t count) {{
    ++*(int *)context;
    for (size_t i = count; i-- > 0;) {{
        struct work work = {{ task, closure, i }};
        pthread_t thread;
        if (pthread_create(&thread, 0, one, &work)) one(&work); else pthread_join(thread, 0);
    }}
}}
int main(void) {{
    const void *in[] = {{ x }};
    void *out[] = {{ y }}, *out2[] = {{ z }};
    int calls = 0;
    fill();
    if (M(run)(in, out, arena)) return 1;
    memset(arena, 0xFF, sizeof arena);
    if (M(run_parallel)(in, out2, arena, threads, &calls)) return 2;
    if (memcmp(y, z, sizeof y)) return 3;
    memset(z, 0, sizeof z);
    if (M(run_parallel)(in, out2, arena, 0, 0)) return 4;
    return memcmp(y, z, sizeof y) ? 5 : 0;
}}
"
    );
    for cpu in cpus() {
        let folder = tempfile::tempdir().unwrap();
        compiled_for(cpu, "tiny_kws_dscnn", folder.path());
        program(folder.path(), tools::CC, &["-std=c11", "-pthread"], "main.c", &text, &["tiny_kws_dscnn"]);
    }
}

#[test]
fn calls_with_arenas_of_their_own_may_overlap() {
    let text = format!(
        "#include <pthread.h>
{PRELUDE}
static _Alignas(M(ARENA_ALIGN)) unsigned char arenas[4][(M(ARENA_BYTES) + M(ARENA_ALIGN)) / M(ARENA_ALIGN) * M(ARENA_ALIGN)];
static float ys[4][M(OUTPUT_0_ELEMENTS)], firsts[4][M(OUTPUT_0_ELEMENTS)];
/* The very first calls are made at the same time. */
static void *many(void *p) {{
    size_t t = (size_t)p;
    for (int i = 0; i < 200; i++) {{
        const void *in[] = {{ x }};
        void *out[] = {{ ys[t] }};
        if (M(run)(in, out, arenas[t]) || (i && memcmp(ys[t], firsts[t], sizeof y))) return (void *)1;
        if (!i) memcpy(firsts[t], ys[t], sizeof y);
    }}
    return 0;
}}
int main(void) {{
    const void *in[] = {{ x }};
    void *out[] = {{ y }}, *result;
    pthread_t threads[4];
    fill();
    for (size_t t = 0; t < 4; t++) if (pthread_create(&threads[t], 0, many, (void *)t)) return 1;
    for (size_t t = 0; t < 4; t++) if (pthread_join(threads[t], &result) || result) return 2;
    if (M(run)(in, out, arena)) return 3;
    for (size_t t = 0; t < 4; t++) if (memcmp(firsts[t], y, sizeof y)) return 4;
    return 0;
}}
"
    );
    for cpu in cpus() {
        let folder = tempfile::tempdir().unwrap();
        compiled_for(cpu, "tiny_kws_dscnn", folder.path());
        program(folder.path(), tools::CC, &["-std=c11", "-pthread"], "main.c", &text, &["tiny_kws_dscnn"]);
    }
}
