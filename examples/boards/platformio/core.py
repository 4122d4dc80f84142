"""Lays out what `pio run` would fetch from its registry, for machines that do not reach that: PlatformIO's build tool, which is
SCons, and the platform of this machine. `python core.py FOLDER` with platformio and scons installed; then PLATFORMIO_CORE_DIR=FOLDER."""

import json
import pathlib
import shutil
import sys

from platformio.dependencies import get_core_dependencies

core, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
version = get_core_dependencies()["tool-scons"].lstrip("~")


def put(folder, kind, name, version):
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"owner": "platformio", "id": None, "name": name, "requirements": None, "uri": None}
    meta = {"type": kind, "name": name, "version": version, "spec": spec}
    (folder / ".piopm").write_text(json.dumps(meta))
    return folder


scons = put(core / "packages" / "tool-scons", "tool", "tool-scons", version)
(scons / "package.json").write_text(json.dumps({"name": "tool-scons", "version": version}))
(scons / "scons.py").write_text("import SCons.Script\n\nSCons.Script.main()\n")
shutil.copytree(here / "native", core / "platforms" / "native", dirs_exist_ok=True)
put(core / "platforms" / "native", "platform", "native", "1.0.0")
