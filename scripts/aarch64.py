"""Models as static libraries for AArch64, run under QEMU: what scripts share.

Needs aarch64-linux-gnu-gcc, qemu-aarch64-static.
"""
import pathlib
import re
import subprocess

from common import kiln_binary

TARGET = "aarch64-unknown-linux-gnu"
MAIN = """#include "m.h"
#include <stdio.h>
#include <stdlib.h>
static void *room(size_t bytes) { void *p = 0; return posix_memalign(&p, 64, bytes + 64) ? 0 : p; }
int main(int argc, char **argv) {
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    if (argc != 3 || !in || !out) return 100;
    void *inputs[] = { %s 0 }, *outputs[] = { %s 0 }, *arena = room(m_ARENA_BYTES);
    %s
    int status = m_run((const void *const *)inputs, outputs, arena%s);
    if (status) { fprintf(stderr, "status %%d\\n", status); return 103; }
    %s
    return fclose(out);
}
"""


def run(*command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{pathlib.Path(command[0]).name}: exit code {result.returncode}: {result.stderr.strip()[-300:]}")


def extents(model, inputs):
    """What a model leaves open, as it is in inputs of these shapes, by name."""
    words = []
    for value in (v for v in model.graph.input if v.name in inputs):
        for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, inputs[value.name])):
            if dim.dim_value <= 0:
                known = dim.dim_param if re.fullmatch(r"\w[\w.]*", dim.dim_param) else f"{value.name}.{axis}"
                words += ["--dim", f"{known}={size}"]
    return words


def outputs_of(path, blobs, count, folder, level="neon", flags=()):
    """The bytes of each of so many outputs of a model, of inputs as bytes, or an error with its message."""
    run(kiln_binary(), "compile", path, "-o", folder, "--name", "m", "--quiet", "--target", TARGET, "--cpu", level, *flags)
    counted = "m_sizes" in (folder / "m.h").read_text()
    size = "m_OUTPUT_{0}_ELEMENTS_OF(&sizes) * sizeof(m_OUTPUT_{0}_CTYPE)" if counted else "m_OUTPUT_{0}_BYTES"
    reads = ["m_sizes sizes = { 0 };"] if counted else []
    reads += [f"if (fread(inputs[{i}], 1, {len(blob)}, in) != {len(blob)}) return 102;" for i, blob in enumerate(blobs)]
    writes = [f"{{ size_t n = {size.format(i)}; fwrite(&n, 8, 1, out); fwrite(outputs[{i}], 1, n, out); }}" for i in range(count)]
    rooms = [f"room({len(blob)})," for blob in blobs], [f"room(m_OUTPUT_{i}_BYTES)," for i in range(count)]
    (folder / "main.c").write_text(MAIN % (" ".join(rooms[0]), " ".join(rooms[1]), "\n    ".join(reads),
                                           ", &sizes" if counted else "", "\n    ".join(writes)))
    run("aarch64-linux-gnu-gcc", "-static", folder / "main.c", folder / "libm.a", "-o", folder / "main")
    (folder / "in").write_bytes(b"".join(blobs))
    processor = "cortex-a53" if level == "neon" else "max"
    run("qemu-aarch64-static", "-cpu", processor, folder / "main", folder / "in", folder / "out")
    data, found = (folder / "out").read_bytes(), []
    for _ in range(count):
        n = int.from_bytes(data[:8], "little")
        found.append(data[8:8 + n])
        data = data[8 + n:]
    return found
