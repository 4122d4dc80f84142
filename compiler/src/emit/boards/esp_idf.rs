//! `esp-idf/NAME`: a component of ESP-IDF. A project finds it by `EXTRA_COMPONENT_DIRS`, or in its own `components` folder.

use super::{HOME, Parts, SENTENCE, version};

/// The names of the files.
pub fn files(name: &str) -> Vec<String> {
    ["CMakeLists.txt", "idf_component.yml", "README.md"]
        .map(|file| format!("esp-idf/{name}/{file}"))
        .into_iter()
        .chain([format!("esp-idf/{name}/include/{name}.h"), format!("esp-idf/{name}/src/{name}.c")])
        .collect()
}

/// Their texts.
pub fn texts(parts: &Parts<'_>) -> Vec<String> {
    let (name, version) = (parts.name, version());
    let cmake = format!("idf_component_register(SRCS \"src/{name}.c\" INCLUDE_DIRS \"include\")\n");
    let manifest = format!("version: \"{version}\"\ndescription: {SENTENCE}\nurl: {HOME}\n");
    let readme = format!(
        "{SENTENCE}, as a component of ESP-IDF. In a project's `CMakeLists.txt`, before `project.cmake` is included:

    set(EXTRA_COMPONENT_DIRS FOLDER_AROUND_THIS_ONE)

and `REQUIRES {name}` in the component that calls it. `include/{name}.h` shows a call.
"
    );
    vec![cmake, manifest, readme, parts.header.to_owned(), parts.source.to_owned()]
}
