#!/usr/bin/env python3
"""Checks the workspace's dependencies against deny.toml: licences, sources, banned crates, wildcards.

Prints what breaks the policy and ends with 1 then. It reads what `cargo metadata` tells, so it needs nothing but
cargo and Python 3.11; advisories need their database, for which there is `cargo deny check advisories`.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def metadata():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def allowed(expression, allow):
    """Whether an SPDX expression is satisfied by allowed licences. The older '/' means OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def alternatives():
        value = terms()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value = terms() or value
        return value

    def terms():
        value = factor()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value = factor() and value
        return value

    def factor():
        name = tokens.pop(0)
        if name == "(":
            value = alternatives()
            tokens.pop(0)
            return value
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            name = f"{name} WITH {tokens.pop(0)}"
        return name in allow

    return alternatives()


def problems(packages, policy):
    allow = set(policy["licenses"]["allow"])
    banned = {b["crate"]: b["reason"] for b in policy["bans"]["deny"]}
    registries = {f"registry+{url}" for url in policy["sources"]["allow-registry"]}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if not allowed(package["license"] or "none", allow):
            yield f"{name}: licence {package['license']}"
        if package["name"] in banned:
            yield f"{name}: {banned[package['name']]}"
        if package["source"] is not None and package["source"] not in registries:
            yield f"{name}: comes from {package['source']}"
        if package["source"] is None:
            wild = [d["name"] for d in package["dependencies"] if d["req"] == "*" and not d.get("path")]
            yield from (f"{name}: any version of {d} would do" for d in wild)


def main():
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    packages = metadata()["packages"]
    found = sorted(problems(packages, policy))
    for line in found:
        print(line)
    print(f"{len(packages)} packages, {len(found)} against deny.toml")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
