//! `zephyr/NAME`: a module of Zephyr, named to its build by `ZEPHYR_EXTRA_MODULES` and switched on by an option.

use super::{Parts, SENTENCE};

/// The names of the files.
pub fn files(name: &str) -> Vec<String> {
    ["zephyr/module.yml", "zephyr/Kconfig", "CMakeLists.txt", "README.md"]
        .map(|file| format!("zephyr/{name}/{file}"))
        .into_iter()
        .chain([format!("zephyr/{name}/include/{name}.h"), format!("zephyr/{name}/src/{name}.c")])
        .collect()
}

/// The option that switches the module on, without `CONFIG_`.
fn option(name: &str) -> String {
    format!("KILN_{}", name.to_uppercase())
}

/// Their texts.
pub fn texts(parts: &Parts<'_>) -> Vec<String> {
    let (name, option) = (parts.name, option(parts.name));
    let module = format!("name: {name}\nbuild:\n  cmake: .\n  kconfig: zephyr/Kconfig\n");
    let kconfig = format!(
        "config {option}
\tbool \"{name}: {sentence}\"
\thelp
\t  Builds {name}.c and puts {name}.h on the include path. The memory of a
\t  call is the caller's: {name}_ARENA_BYTES bytes.
",
        sentence = SENTENCE.to_lowercase(),
    );
    let cmake = format!(
        "if(CONFIG_{option})
  zephyr_include_directories(include)
  zephyr_library_named({name})
  zephyr_library_sources(src/{name}.c)
endif()
"
    );
    let readme = format!(
        "{SENTENCE}, as a module of Zephyr. With `CONFIG_{option}=y` in the application's `prj.conf`:

    west build -b BOARD APPLICATION -- -DZEPHYR_EXTRA_MODULES=$PWD

`include/{name}.h` shows a call.
"
    );
    vec![module, kconfig, cmake, readme, parts.header.to_owned(), parts.source.to_owned()]
}
