//! `arduino/NAME`: a library of Arduino, for its `libraries` folder or `arduino-cli compile --libraries`.

use super::{HOME, Parts, SENTENCE, buffers, call, version};

/// The names of the files.
pub fn files(name: &str) -> Vec<String> {
    ["library.properties", "README.md"]
        .map(|file| format!("arduino/{name}/{file}"))
        .into_iter()
        .chain([
            format!("arduino/{name}/src/{name}.h"),
            format!("arduino/{name}/src/{name}.c"),
            format!("arduino/{name}/examples/Run/Run.ino"),
        ])
        .collect()
}

/// Their texts.
pub fn texts(parts: &Parts<'_>) -> Vec<String> {
    let (name, version) = (parts.name, version());
    let properties = format!(
        "name={short}
version={version}
author=Kiln
maintainer=Kiln
sentence={SENTENCE}.
paragraph=Plain C: no other library, no heap. {name}_run computes the outputs from the inputs.
category=Data Processing
url={HOME}
architectures=*
includes={name}.h
",
        // No name of a library is longer.
        short = &name[..name.len().min(63)],
    );
    let readme = format!(
        "{SENTENCE}, as a library of Arduino. Put this folder into the sketchbook's `libraries`, or:

    arduino-cli compile --libraries FOLDER_AROUND_THIS_ONE -b BOARD SKETCH

`src/{name}.h` shows a call, `examples/Run` is a whole sketch.
"
    );
    let sketch = format!(
        "// Runs the model on zeros and tells what it returns, and how long that took.
#include <{name}.h>

{}alignas({name}_ARENA_ALIGN) static unsigned char arena[{name}_ARENA_BYTES];

void setup() {{
    Serial.begin(115200);
}}

void loop() {{
    unsigned long start = micros();
{}    unsigned long taken = micros() - start;
    Serial.print(F(\"{name}_run: status \"));
    Serial.print(status);
    Serial.print(F(\", microseconds: \"));
    Serial.println(taken);
    delay(1000);
}}
",
        buffers(parts),
        call(parts)
    );
    vec![properties, readme, parts.header.to_owned(), parts.source.to_owned(), sketch]
}
