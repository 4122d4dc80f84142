//! `platformio/NAME`: a library of PlatformIO. A project finds it by `lib_extra_dirs`, or in its own `lib` folder.

use serde_json::json;

use super::{HOME, Parts, SENTENCE, buffers, call, version};

/// The names of the files.
pub fn files(name: &str) -> Vec<String> {
    ["library.json", "README.md"]
        .map(|file| format!("platformio/{name}/{file}"))
        .into_iter()
        .chain([
            format!("platformio/{name}/include/{name}.h"),
            format!("platformio/{name}/src/{name}.c"),
            format!("platformio/{name}/examples/run/main.c"),
        ])
        .collect()
}

/// Their texts.
pub fn texts(parts: &Parts<'_>) -> Vec<String> {
    let name = parts.name;
    let manifest = json!({
        "name": name,
        "version": version(),
        "description": SENTENCE,
        "keywords": ["machine learning", "onnx", "inference"],
        "homepage": HOME,
        "frameworks": "*",
        "platforms": "*",
        "headers": format!("{name}.h"),
        "examples": [{ "name": "run", "base": "examples/run", "files": ["main.c"] }],
        "build": { "includeDir": "include", "srcDir": "src" },
    });
    let readme = format!(
        "{SENTENCE}, as a library of PlatformIO. In a project's `platformio.ini`:

    lib_extra_dirs = FOLDER_AROUND_THIS_ONE

`include/{name}.h` shows a call, `examples/run/main.c` is a whole program.
"
    );
    let example = format!(
        "/* Runs the model once, on zeros. The arena is aligned by hand, which every C can. */
#include <stddef.h>

#include <{name}.h>

{}static unsigned char memory[{name}_ARENA_BYTES + {name}_ARENA_ALIGN];

int main(void) {{
    void *arena = (void *)(((uintptr_t)memory + {name}_ARENA_ALIGN - 1) / {name}_ARENA_ALIGN * {name}_ARENA_ALIGN);
{}    return status;
}}
",
        buffers(parts),
        call(parts)
    );
    vec![format!("{manifest:#}\n"), readme, parts.header.to_owned(), parts.source.to_owned(), example]
}
