#!/usr/bin/env python3
"""How long a session takes until a model is ready, the first time and with what `--cache` kept, and in how much memory.

    scripts/session_start.py target/release/kiln vit_b_16.onnx [--rounds 3] [--expression]

Ends with 1 where the second start takes more than a tenth of the first, or more than 1.2 times the model's size in memory.
`--expression` times a small expression too, as the session itself sees it.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def run(kiln, script, cache):
    """Seconds and bytes of resident memory at most."""
    arguments = [kiln, "repl", "--script", script] + (["--cache", cache] if cache else [])
    start = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    said = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"the session ended with {status}")
    return seconds, usage.ru_maxrss * 1024, said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kiln")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--expression", action="store_true")
    arguments = parser.parse_args()
    size = arguments.model.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        script = folder / "load.kiln"
        script.write_text(f":load '{arguments.model.resolve()}' as net\n")
        firsts, seconds = [], []
        for i in range(arguments.rounds):
            cache = folder / f"cache{i}"
            firsts.append(run(arguments.kiln, script, cache))
            seconds += [run(arguments.kiln, script, cache) for _ in range(2)]
        first, second = min(t for t, *_ in firsts), min(t for t, *_ in seconds)
        memory = min(m for _, m, *_ in seconds)
        print(f"{arguments.model.name}, {size / 1e6:.0f} MB: first {first:.3f} s, {min(m for _, m, *_ in firsts) / size:.2f} of its size in memory")
        print(f"second {second:.3f} s, {second / first:.3f} of the first; {memory / size:.2f} of its size in memory")
        if arguments.expression:
            script.write_text("x = random([64, 64])\n" + "".join(f"y = Relu(x + {i}) * x\n" for i in range(200)))
            many = min(run(arguments.kiln, script, None)[0] for _ in range(arguments.rounds))
            script.write_text("x = random([64, 64])\n")
            none = min(run(arguments.kiln, script, None)[0] for _ in range(arguments.rounds))
            print(f"an expression of three operators: {(many - none) / 200 * 1e3:.2f} ms")
        sys.exit(second > 0.1 * first or memory > 1.2 * size)


main()
