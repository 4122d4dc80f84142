#!/usr/bin/env python3
"""The table of Kiln against ONNX Runtime, OpenVINO and MNN, side by side, in rounds.

    bench_table.py [MODEL.onnx...] [--threads 1,2] [--rounds 5] [--seconds 1] [--json]

Every round runs each runtime once, in turn, each in a process of its own. Times are minima over the rounds in
milliseconds and context only, since machines drift; the speed-up over the fastest of the others is the median of the
rounds' ratios, above 1 where Kiln is faster. Without models it measures those of the README's table.

needs: cargo build --release; ../shared/bench/peers.py; pip install numpy onnx onnxruntime openvino MNN
"""
import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

import bench_common as common

PEERS = {"ort": "ONNX Runtime", "openvino": "OpenVINO", "mnn": "MNN"}


def measure(path, threads, args):
    """The answer of peers.py for one model, or None with the reason on stderr."""
    ours = [args.kiln, "bench", str(path), "--threads", str(threads), "--seconds", str(args.seconds), "--json",
            *common.kiln_dims(path), *shlex.split(args.options)]
    dims = ",".join(f"{name}={value}" for name, value in common.DIMS.get(path.stem, {}).items())
    command = [sys.executable, str(args.script), str(path), "--peers", args.peers, "--threads", str(threads),
               "--rounds", str(args.rounds), "--seconds", str(args.seconds), "--dim", dims, "--json",
               "--ours", shlex.join(ours)]
    # mnnconvert lies beside the interpreter.
    folder = str(pathlib.Path(sys.executable).parent)
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": folder + os.pathsep + os.environ.get("PATH", "")})
    for line in done.stderr.strip().splitlines()[-3:]:
        print(f"{path.stem}: {line}", file=sys.stderr)
    if done.returncode != 0 or not done.stdout.strip():
        return None
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return answer if "ours" in answer["rows"] else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_model_arguments(parser)
    parser.add_argument("--threads", type=common.thread_counts, default=[1], help="1,2 measures both (default: 1)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="per runtime and round")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--kiln", default=str(common.REPOSITORY / "target/release/kiln"))
    parser.add_argument("--options", default="", help="more for kiln bench, as in '--cpu avx2 --tune'")
    parser.add_argument("--script", type=pathlib.Path, default=common.REPOSITORY / "../shared/bench/peers.py",
                        help="the comparison with the others")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    args = parser.parse_args()
    if not args.script.exists():
        parser.error(f"{args.script} is missing; name it with --script")
    if not pathlib.Path(args.kiln).exists():
        parser.error(f"{args.kiln} is missing: cargo build --release")
    peers = [peer for peer in args.peers.split(",") if peer]
    summary = []
    for threads in args.threads:
        found, rows, missing = [], [], []
        if not args.json:
            print(f"{threads} thread{'s' * (threads > 1)}, {args.rounds} rounds, milliseconds\n")
            head = ["model", "Kiln", *(PEERS.get(peer, peer) for peer in peers), "speed-up"]
            print(common.table(head, []), flush=True)
        for path in common.models(args):
            answer = measure(path, threads, args)
            if answer is None:
                missing.append(path.stem)
                continue
            ms = {name: row["min_ms"] for name, row in answer["rows"].items()}
            ratio = answer.get("speedup_over_fastest_peer")
            rows.append({"model": path.stem, "min_ms": ms, "fastest_peer": answer.get("fastest_peer"),
                         "speed_up": ratio})
            if ratio is not None:
                found.append(ratio)
            if not args.json:
                cells = [f"{ms[name]:.4g}" if name in ms else "-" for name in ("ours", *peers)]
                print(common.row([path.stem, *cells, f"{ratio:.2f}" if ratio else "-"]), flush=True)
        mean = common.geometric_mean(found)
        summary.append({"threads": threads, "rounds": args.rounds, "rows": rows, "failed": missing,
                        "geometric_mean": mean if found else None, "least": min(found, default=None)})
        if not args.json and found:
            print(f"\ngeometric mean of {len(found)} speed-ups {mean:.3f}, the least {min(found):.3f}")
            if missing:
                print(f"not measured: {', '.join(missing)}")
            print()
    if args.json:
        print(json.dumps({"tables": summary}))
    return 0 if summary and all(s["rows"] for s in summary) else 1


if __name__ == "__main__":
    sys.exit(main())
