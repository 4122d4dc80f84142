//! What packages hold: a shared library with its public functions alone, headers for C++, folders for boards whose C compiles
//! without a word and computes what the library does.

use std::path::Path;
use std::process::Command;

use kiln_tests::models;
use kiln_tests::tools::{self, CC, CXX};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Object, ObjectSymbol, elf};

const KILN: &str = env!("CARGO_BIN_EXE_kiln-under-test");

/// Compiles a shipped model, called `net`, into a folder.
fn compiled(model: &str, folder: &Path, more: &[&str]) {
    let model = models::shipped().into_iter().find(|m| m.name == model).unwrap();
    tools::kiln_compile(KILN, &model.path, folder, &[&["--name", "net"], more].concat()).unwrap();
}

/// A C program that prints what `net` makes of an input, bit by bit.
const MAIN: &str = "#include <stdio.h>
#include <string.h>
#include \"net.h\"
static unsigned char memory[net_ARENA_BYTES + net_ARENA_ALIGN];
static float x[net_INPUT_0_ELEMENTS], y[net_OUTPUT_0_ELEMENTS];
int main(void) {
    void *arena = (void *)(((uintptr_t)memory + net_ARENA_ALIGN - 1) / net_ARENA_ALIGN * net_ARENA_ALIGN);
    const void *in[] = { x };
    void *out[] = { y };
    for (int i = 0; i < net_INPUT_0_ELEMENTS; i++) x[i] = (float)(i % 17) / 8 - 1;
    int status = net_run(in, out, arena);
    for (int i = 0; i < net_OUTPUT_0_ELEMENTS; i++) { unsigned bits; memcpy(&bits, y + i, 4); printf(\"%08x\\n\", bits); }
    return status;
}
";

const C: &[&str] = &["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"];

/// Builds [`MAIN`] in a folder with more words for the compiler; what it prints.
fn printed(folder: &Path, more: &[&str]) -> String {
    tools::write(&folder.join("main.c"), MAIN).unwrap();
    let mut command = Command::new(CC);
    tools::run(command.args(C).args(["main.c", "-o", "main"]).args(more).current_dir(folder)).unwrap();
    let output = tools::run(Command::new(folder.join("main")).env("LD_LIBRARY_PATH", folder)).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_shared_library_exports_its_functions_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    compiled("tiny_kws_dscnn", folder.path(), &["--emit", "lib,shared,cmake,pkgconfig"]);
    let bytes = std::fs::read(folder.path().join("libnet.so")).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let mut exported: Vec<_> =
        file.dynamic_symbols().filter(ObjectSymbol::is_definition).map(|s| s.name().unwrap()).collect();
    exported.sort_unstable();
    assert_eq!(exported, ["net_run", "net_run_parallel"]);
    assert!(file.dynamic_symbols().all(|s| !s.is_undefined() || s.name() == Ok("")));

    let header = elf::FileHeader64::<object::Endianness>::parse(&*bytes).unwrap();
    let endian = header.endian().unwrap();
    let segments = header.program_headers(endian, &*bytes).unwrap();
    let stack = segments.iter().find(|s| s.p_type(endian) == elf::PT_GNU_STACK).unwrap();
    assert_eq!(stack.p_flags(endian) & elf::PF_X, 0, "a stack that is executable");
    assert!(segments.iter().any(|s| s.p_type(endian) == elf::PT_GNU_RELRO));
    let writable = segments.iter().filter(|s| s.p_type(endian) == elf::PT_LOAD);
    assert!(
        writable.into_iter().all(|s| s.p_flags(endian) & (elf::PF_W | elf::PF_X) != elf::PF_W | elf::PF_X)
    );
    let dynamic = segments.iter().find_map(|s| s.dynamic(endian, &*bytes).unwrap()).unwrap();
    let tags: Vec<i64> = dynamic.iter().map(|d| d.d_tag(endian)).collect();
    assert!(
        tags.contains(&elf::DT_SONAME) && !tags.contains(&elf::DT_NEEDED) && !tags.contains(&elf::DT_TEXTREL)
    );

    // The static library and the shared one compute the same.
    let expected = printed(folder.path(), &["libnet.a"]);
    assert!(expected.lines().count() > 10);
    assert_eq!(printed(folder.path(), &["-L.", "-lnet"]), expected);
    let config = std::fs::read_to_string(folder.path().join("netConfig.cmake")).unwrap();
    assert!(config.contains("net::net STATIC") && config.contains("net::shared SHARED"), "{config}");

    // Alone it is what packages are of; linked again it has the same bytes.
    let again = tempfile::tempdir().unwrap();
    compiled("tiny_kws_dscnn", again.path(), &["--emit", "shared,cmake"]);
    assert!(std::fs::read(again.path().join("libnet.so")).unwrap() == bytes);
    assert!(!again.path().join("libnet.a").exists());
    let config = std::fs::read_to_string(again.path().join("netConfig.cmake")).unwrap();
    assert!(config.contains("net::net SHARED"), "{config}");
}

#[test]
fn a_linker_that_is_not_there_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = models::shipped().remove(0);
    let arguments =
        ["compile", &model.path.display().to_string(), "-o", &folder.path().display().to_string()];
    let more = ["--target", "x86_64-unknown-linux-gnu", "--cpu", "baseline", "--emit", "shared"];
    let output = Command::new(KILN)
        .args(arguments)
        .args(more)
        .env("CC_x86_64_unknown_linux_gnu", "no-such-compiler")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("no-such-compiler") && told.contains("CC_x86_64_unknown_linux_gnu"), "{told}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The C++ compilers of this machine.
fn cpp() -> Vec<&'static str> {
    let all: Vec<_> = [CXX, "clang++"].into_iter().filter(|c| tools::exists(c)).collect();
    assert!(all.len() == 2 || !tools::on_ci(), "{all:?}");
    all
}

fn runs_as_cpp(folder: &Path, text: &str) {
    tools::write(&folder.join("main.cpp"), text).unwrap();
    for compiler in cpp() {
        for standard in ["-std=c++17", "-std=c++20"] {
            let flags = [standard, "-Wall", "-Wextra", "-pedantic", "-Werror", "-I."];
            let mut command = Command::new(compiler);
            command.args(flags).args(["main.cpp", "libnet.a", "-pthread", "-o", "main"]).current_dir(folder);
            tools::run(&mut command).unwrap();
            tools::run(&mut Command::new(folder.join("main"))).unwrap();
        }
    }
}

#[test]
fn spans_of_fixed_shapes_have_their_sizes_in_their_types() {
    let folder = tempfile::tempdir().unwrap();
    compiled("tiny_kws_dscnn", folder.path(), &["--emit", "lib,hpp"]);
    let header = std::fs::read_to_string(folder.path().join("net.hpp")).unwrap();
    let field = |which: &str| {
        let line = header.lines().find(|l| l.contains(&format!("{which}_0::elements> "))).unwrap();
        line.trim_end_matches(';').rsplit(' ').next().unwrap().to_owned()
    };
    let text = format!(
        "#include \"net.hpp\"
#include <cstring>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>
namespace net = kiln::net;
static net::arena memory;
static_assert(net::input_0::rank == sizeof net::input_0::shape / sizeof *net::input_0::shape, \"rank\");
static_assert(std::is_same_v<net::input_0::element, float>, \"type\");
// A span of another size is no argument, nor is one of constants a result.
static_assert(!std::is_constructible_v<net::span<const float, 7>, float (&)[8]>, \"size\");
static_assert(!std::is_constructible_v<net::span<float, 8>, const float (&)[8]>, \"const\");
int main() {{
    std::array<float, net::input_0::elements> x;
    for (std::size_t i = 0; i < x.size(); i++) x[i] = static_cast<float>(i % 17) / 8 - 1;
    float y[net::output_0::elements], z[net::output_0::elements];
    const auto &given = x;
    net::inputs in{{given}};
    net::outputs out{{y}}, more{{z}};
    if (net::run(in, out, memory) != net::status::ok) return 1;
    auto threads = [](std::size_t count, auto task) {{
        for (std::size_t i = count; i-- > 0;) std::thread([=] {{ task(i); }}).join();
    }};
    if (net::run_parallel(in, more, memory, threads) != net::status::ok) return 2;
    if (std::memcmp(y, z, sizeof y)) return 3;
    float sum = 0;
    for (float p : out.{output}) sum += p;
    if (!(sum > 0.999f && sum < 1.001f)) return 4;
    auto somewhere = std::make_unique<net::arena>();
    if (net::run({{x}}, {{z}}, *somewhere) != net::status::ok) return 5;
    if (in.{input}.size() != x.size() || std::strcmp(net::message(net::status::ok), \"the outputs are written\")) return 6;
    return 0;
}}
",
        output = field("output"),
        input = field("input"),
    );
    runs_as_cpp(folder.path(), &text);
}

#[test]
fn spans_of_open_shapes_are_checked_against_the_sizes() {
    let folder = tempfile::tempdir().unwrap();
    compiled("mnist_cnn", folder.path(), &["--emit", "lib,hpp", "--dim", "batch=1..4"]);
    let text = "#include \"net.hpp\"
#include <vector>
namespace net = kiln::net;
static net::arena memory;
int main() {
    net::sizes now{3};
    auto shape = net::input_0::shape(now);
    std::size_t elements = 1;
    for (auto extent : shape) elements *= static_cast<std::size_t>(extent);
    if (shape[0] != 3 || elements >= net::input_0::elements) return 1;
    std::vector<float> x(elements, 0.5f), y(30), shorter(29);
    if (net::run({x}, {y}, memory, now) != net::status::ok) return 2;
    if (y[0] != y[10] || y[0] == y[1]) return 3;
    if (net::run({x}, {shorter}, memory, now) != net::status::short_span) return 4;
    now.batch = 5;
    if (net::run({x}, {y}, memory, now) != net::status::dimension_out_of_bounds) return 5;
    now.batch = 4;
    if (net::run({x}, {y}, memory, now) != net::status::short_span) return 6;
    return 0;
}
";
    runs_as_cpp(folder.path(), text);
}

#[test]
fn folders_for_boards_hold_the_same_c_and_what_their_tools_read() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = ["zephyr", "platformio", "arduino", "esp-idf"];
    compiled("tiny_kws_dscnn", folder.path(), &["--emit", &format!("c,{}", kinds.join(","))]);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let expected = printed(folder.path(), &["net.c"]);
    for kind in kinds {
        let include = if kind == "arduino" { "src" } else { "include" };
        let within = folder.path().join(kind).join("net");
        assert_eq!(read(&format!("{kind}/net/src/net.c")), read("net.c"), "{kind}");
        assert_eq!(read(&format!("{kind}/net/{include}/net.h")), read("net.h"), "{kind}");
        assert!(within.join("README.md").exists());
        let (header, source) = (within.join(include), within.join("src/net.c"));
        let alone = tempfile::tempdir().unwrap();
        let words = [&*format!("-I{}", header.display()), &*source.display().to_string()];
        assert_eq!(printed(alone.path(), &words), expected, "{kind}");
    }
    let manifest: serde_json::Value = serde_json::from_str(&read("platformio/net/library.json")).unwrap();
    assert_eq!((&manifest["name"], &manifest["headers"]), (&"net".into(), &"net.h".into()));
    assert!(read("zephyr/net/zephyr/module.yml").contains("kconfig: zephyr/Kconfig"));
    assert!(read("zephyr/net/CMakeLists.txt").starts_with("if(CONFIG_KILN_NET)"));
    let properties = read("arduino/net/library.properties");
    for key in [
        "name",
        "version",
        "author",
        "maintainer",
        "sentence",
        "paragraph",
        "category",
        "url",
        "architectures",
    ] {
        assert!(properties.lines().any(|l| l.starts_with(&format!("{key}="))), "{key}: {properties}");
    }
    // A sketch is C++ with a few functions of Arduino's.
    let stub = "#include <cstdio>
#define F(text) text
static struct { void begin(long) {} template <class T> void print(T) {} template <class T> void println(T v) { std::printf(\"%ld\\n\", (long)v); } } Serial;
static unsigned long micros() { return 0; }
static void delay(int) {}
";
    let sketch = read("arduino/net/examples/Run/Run.ino");
    let text = format!("{stub}{sketch}\nint main() {{ setup(); loop(); }}\n");
    tools::write(&folder.path().join("sketch.cpp"), text).unwrap();
    let mut object = Command::new(CC);
    tools::run(object.args(C).args(["-c", "net.c"]).current_dir(folder.path())).unwrap();
    let mut program = Command::new(CXX);
    let words = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-I.", "sketch.cpp", "net.o", "-o", "sketch"];
    tools::run(program.args(words).current_dir(folder.path())).unwrap();
    tools::run(&mut Command::new(folder.path().join("sketch"))).unwrap();

    // Machine code is of another plan: both at once are refused, and nothing is written.
    let empty = tempfile::tempdir().unwrap();
    let model = models::shipped().remove(0);
    let ended = tools::kiln_compile(KILN, &model.path, empty.path(), &["--emit", "lib,zephyr"]).unwrap_err();
    assert!(ended.contains("two plans"), "{ended}");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

/// A C program that maps `net.weights.bin`, looks at what calls say of other memory, and prints what [`MAIN`] does.
const MAPPED: &str = "#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include \"net.h\"
static unsigned char memory[net_ARENA_BYTES + net_ARENA_ALIGN];
static float x[net_INPUT_0_ELEMENTS], y[net_OUTPUT_0_ELEMENTS];
int main(void) {
    void *arena = (void *)(((uintptr_t)memory + net_ARENA_ALIGN - 1) / net_ARENA_ALIGN * net_ARENA_ALIGN);
    const void *in[] = { x };
    void *out[] = { y };
    int file = open(\"net.weights.bin\", O_RDONLY);
    struct stat told;
    if (file < 0 || fstat(file, &told) || told.st_size != net_WEIGHTS_FILE_BYTES) return 100;
    const void *weights = mmap(0, net_WEIGHTS_FILE_BYTES, PROT_READ, MAP_PRIVATE, file, 0);
    unsigned char *other = mmap(0, net_WEIGHTS_FILE_BYTES + 64, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (weights == MAP_FAILED || other == MAP_FAILED) return 101;
    if (net_run(in, out, arena, 0) != net_NULL_POINTER) return 102;
    if (net_run(in, out, arena, other) != net_OTHER_WEIGHTS) return 103;
    memcpy(other + 1, weights, net_WEIGHTS_FILE_BYTES);
    if (net_run(in, out, arena, other + 1) != net_MISALIGNED_WEIGHTS) return 104;
    memcpy(other, weights, net_WEIGHTS_FILE_BYTES);
    other[40] ^= 1;
    if (net_run(in, out, arena, other) != net_OTHER_WEIGHTS) return 105;
    for (int i = 0; i < net_INPUT_0_ELEMENTS; i++) x[i] = (float)(i % 17) / 8 - 1;
    int status = net_run(in, out, arena, weights);
    for (int i = 0; i < net_OUTPUT_0_ELEMENTS; i++) { unsigned bits; memcpy(&bits, y + i, 4); printf(\"%08x\\n\", bits); }
    return status;
}
";

#[test]
fn weights_of_a_file_are_read_where_it_is_mapped() {
    let within = tempfile::tempdir().unwrap();
    for (emit, sources) in [("lib,hpp,report", "libnet.a"), ("c", "net.c")] {
        compiled("tiny_kws_dscnn", within.path(), &["--emit", emit]);
        let expected = printed(within.path(), &[sources]);
        let outside = tempfile::tempdir().unwrap();
        compiled("tiny_kws_dscnn", outside.path(), &["--emit", emit, "--weights", "file"]);
        tools::write(&outside.path().join("main.c"), MAPPED).unwrap();
        let mut command = Command::new(CC);
        tools::run(command.args(C).args(["main.c", sources, "-o", "main"]).current_dir(outside.path()))
            .unwrap();
        let found = tools::run(Command::new("./main").current_dir(outside.path())).unwrap();
        assert_eq!(String::from_utf8(found.stdout).unwrap(), expected, "{emit}");
        // What is in the file is not in the program.
        let size = |folder: &Path| std::fs::metadata(folder.join(sources)).unwrap().len();
        let file = std::fs::metadata(outside.path().join("net.weights.bin")).unwrap().len();
        assert!(size(outside.path()) + file / 2 < size(within.path()), "{emit}");
    }
}

#[test]
fn spans_and_weights_of_a_file_go_together() {
    let folder = tempfile::tempdir().unwrap();
    compiled("tiny_kws_dscnn", folder.path(), &["--emit", "lib,hpp", "--weights", "file"]);
    let main = "#include <cstdio>
#include <fstream>
#include \"net.hpp\"
static kiln::net::arena memory;
alignas(kiln::net::weights_align) static char weights[kiln::net::weights_file_bytes];
int main() {
    std::ifstream(\"net.weights.bin\", std::ios::binary).read(weights, sizeof weights);
    static kiln::net::input_0::element x[kiln::net::input_0::elements];
    static kiln::net::output_0::element y[kiln::net::output_0::elements];
    const kiln::net::status status = kiln::net::run({x}, {y}, memory, weights);
    std::printf(\"%s\\n\", kiln::net::message(status));
    return static_cast<int>(status);
}
";
    tools::write(&folder.path().join("main.cpp"), main).unwrap();
    let mut command = Command::new(CXX);
    let flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "main.cpp", "libnet.a", "-o", "main"];
    tools::run(command.args(flags).current_dir(folder.path())).unwrap();
    tools::run(Command::new("./main").current_dir(folder.path())).unwrap();
}

#[test]
fn folders_of_boards_have_their_weights_inside() {
    let folder = tempfile::tempdir().unwrap();
    let model = models::shipped().remove(0);
    let output = Command::new(KILN)
        .args(["compile", &model.path.display().to_string(), "-o", &folder.path().display().to_string()])
        .args(["--emit", "arduino", "--weights", "file"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("--weights-section"), "{told}");
}
