"""Reads a module of Zephyr and an application's prj.conf: prints the folder of its CMakeLists.txt and the options that are on,
as a list of CMake's. Options that nobody declares are errors, as they are for Zephyr."""

import pathlib
import sys

import kconfiglib
import yaml

module, config = pathlib.Path(sys.argv[1]), sys.argv[2]
build = yaml.safe_load((module / "zephyr" / "module.yml").read_text())["build"]
options = kconfiglib.Kconfig(str(module / build["kconfig"]))
options.warn_assign_undef = True
options.load_config(config)
if options.warnings:
    sys.exit("\n".join(options.warnings))
on = [name for name, symbol in options.syms.items() if symbol.str_value == "y" and name.startswith("KILN_")]
print(";".join([str((module / build["cmake"]).resolve()), *on]))
