#!/bin/sh
# Makes a keyword model integers, compiles it for a machine without an operating system and for this one, runs both, the first
# in QEMU, and compares what they print byte for byte. Then once more with the weights outside of the program, at an address.
# Needs cargo, a C compiler, aarch64-linux-gnu-gcc (as a compiler alone: no library of it is used) and qemu-system-aarch64.
set -eu
cd "$(dirname "$0")/../.."
here=examples/firmware
out=target/firmware
mkdir -p "$out"
cargo build --release -p kiln-cli
kiln=./target/release/kiln

"$kiln" quantize tests/models/tiny/tiny_kws_dscnn.onnx -o "$out/kws.onnx" --calibrate "$here"
"$kiln" compile "$out/kws.onnx" -o "$out/board" --name kws --target aarch64-unknown-none \
    --weights-section .model_weights --emit lib,header,report,html
"$kiln" report "$out/board/kws.report.json"
"$kiln" compile "$out/kws.onnx" -o "$out/host" --name kws

"$kiln" compile "$out/kws.onnx" -o "$out/outside" --name kws --target aarch64-unknown-none --weights file --emit lib,header
"${CC:-cc}" -std=c11 -O2 -Wall -Wextra -I "$out/host" "$here/main.c" "$out/host/libkws.a" -o "$out/kws"

# The program for the library in this folder.
link() {
    test -z "$(aarch64-linux-gnu-nm -u "$out/$1/libkws.a" | grep ' U ')"
    aarch64-linux-gnu-gcc -std=c11 -O2 -Wall -Wextra -ffreestanding -fno-stack-protector -mcpu=cortex-a53 -mstrict-align \
        -nostdlib -static -Wl,--build-id=none -T "$here/link.ld" -I "$out/$1" \
        "$here/start.S" "$here/main.c" "$out/$1/libkws.a" -o "$out/$1.elf"
}

# The machine with this program, and with what else is put into its memory.
run() {
    program=$1
    shift
    timeout 120 qemu-system-aarch64 -M virt -cpu cortex-a53 -nic none -nographic \
        -chardev "file,id=console,path=$out/$program.txt" \
        -semihosting-config enable=on,target=native,chardev=console -kernel "$out/$program.elf" "$@"
}

link board
link outside
run board
cat "$out/board.txt"
"$out/kws" > "$out/host.txt"
# The last line is the board's stack.
grep -v '^stack: ' "$out/board.txt" | cmp - "$out/host.txt"
echo "the board prints what this machine prints"

# Without the file of weights, or with that of another model, nothing is computed: status 7 is kws_OTHER_WEIGHTS.
status=0
run outside || status=$?
test "$status" = 7
test "$(cat "$out/outside.txt")" = "kws_run failed with status 7"
run outside -device "loader,file=$out/outside/kws.weights.bin,addr=0x40400000,force-raw=on"
grep -v '^stack: ' "$out/outside.txt" | cmp - "$out/host.txt"
echo "so it does with the weights outside of the program, at an address"
