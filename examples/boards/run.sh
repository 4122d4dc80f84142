#!/bin/sh
# Compiles a model as a module of Zephyr, a library of PlatformIO, one of Arduino and a component of ESP-IDF, and builds main.c
# with each; compares what the programs print.
# Needs cargo, a C compiler, cmake, python with requirements.txt (PYTHON names it), and for Arduino arduino-builder with
# arduino-core-avr.
set -eu
cd "$(dirname "$0")/../.."
here=examples/boards
root="$PWD"
out="$root/target/boards"
python="${PYTHON:-python3}"
tools="$(dirname "$("$python" -c 'import sys; print(sys.executable)')")"
rm -rf "$out"
mkdir -p "$out"
cargo build --release -p kiln-cli
./target/release/kiln compile "$here/sine.onnx" -o "$out" --emit c,zephyr,platformio,arduino,esp-idf,report

echo "== C alone"
"${CC:-cc}" -std=c99 -O2 -Wall -Wextra -pedantic -I "$out" "$here/main.c" "$out/sine.c" -o "$out/sine"
"$out/sine" | tee "$out/expected.txt"

echo "== PlatformIO: packed, and built for this machine"
export PLATFORMIO_CORE_DIR="$out/core" PLATFORMIO_BUILD_DIR="$out/pio" PLATFORMIO_SETTING_ENABLE_TELEMETRY=no
"$tools/pio" pkg pack "$out/platformio/sine" -o "$out/sine.tar.gz"
"$python" "$here/platformio/core.py" "$out/core"
KILN_LIBRARIES="$out/platformio" "$tools/pio" run --disable-auto-clean -d "$here/platformio"
"$out/pio/native/program" | cmp - "$out/expected.txt"

echo "== Zephyr: module.yml, Kconfig and CMakeLists.txt, read by what stands in for Zephyr here"
ZEPHYR_BASE="$root/$here/stand-in/zephyr" cmake -S "$here/zephyr" -B "$out/zephyr-build" \
    -DZEPHYR_EXTRA_MODULES="$out/zephyr/sine" -DPython3_EXECUTABLE="$tools/python" >/dev/null
cmake --build "$out/zephyr-build"
"$out/zephyr-build/app" | cmp - "$out/expected.txt"

echo "== ESP-IDF: packed by its component manager, CMakeLists.txt read by what stands in for ESP-IDF here"
"$tools/compote" component pack --project-dir "$out/esp-idf/sine" --name sine --dest-dir "$out/packed"
rm -rf "$out/esp-idf/sine/dist"
KILN_COMPONENTS="$out/esp-idf" IDF_PATH="$root/$here/stand-in/esp-idf" cmake -S "$here/esp-idf" -B "$out/esp-build" >/dev/null
cmake --build "$out/esp-build"
"$out/esp-build/sine_table.elf" | cmp - "$out/expected.txt"

echo "== Arduino: the sketch of the library, for an Uno"
# Debian's compiler defines DECIMAL_DIG for later standards than the core of the boards is built by.
mkdir -p "$out/avr"
arduino-builder -compile -hardware /usr/share/arduino/hardware -hardware /usr/share/arduino-builder -tools /usr/bin \
    -prefs runtime.tools.avr-gcc.path=/usr -prefs compiler.cpp.extra_flags=-DDECIMAL_DIG=__DECIMAL_DIG__ \
    -libraries "$out/arduino" -fqbn arduino:avr:uno -build-path "$out/avr" "$out/arduino/sine/examples/Run/Run.ino"

echo "== the report, against its schema"
"$python" - "$out/sine.report.json" docs/report.schema.json <<'PYTHON'
import json, sys, jsonschema
report, schema = (json.load(open(path)) for path in sys.argv[1:])
jsonschema.Draft202012Validator.check_schema(schema)
jsonschema.Draft202012Validator(schema).validate(report)
PYTHON
echo "every package builds"
