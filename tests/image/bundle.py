"""Starts an image as Kubernetes does by the chart: as its user, on a read-only root, without any capability.

runc gets a bundle of the image's own configuration; the host's network is shared, since the servers are on loopback.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.image.buildah import Image

__all__ = ["bundle"]

_UNSHARED = ("network", "cgroup", "user")
_SHELLS = ("/usr/bin/sh", "/usr/bin/dash", "/usr/bin/bash")


def bundle(folder: Path, image: Image, environ: Mapping[str, str], arguments: Sequence[str] = ()) -> list[str]:
    """The command that runs the image with `arguments` in place of its own; its volume is the folder `state`."""
    user, group = (int(number) for number in image.config["User"].split(":"))
    state, [volume] = folder / "state", image.config["Volumes"]
    state.mkdir(parents=True)
    os.chown(state, user, group)
    subprocess.run(["runc", "spec"], cwd=folder, check=True)
    spec = json.loads((folder / "config.json").read_text("utf-8"))
    spec["root"] = {"path": str(image.root), "readonly": True}
    spec["process"] |= {
        "terminal": False,
        "user": {"uid": user, "gid": group},
        "args": [*image.config["Entrypoint"], *(arguments or image.config["Cmd"])],
        "env": [*image.config["Env"], *(f"{name}={value}" for name, value in environ.items())],
        "cwd": image.config["WorkingDir"],
        "capabilities": {},
        "noNewPrivileges": True,
    }
    spec["mounts"].append({"destination": volume, "type": "bind", "source": str(state), "options": ["rbind", "rw"]})
    spec["linux"]["namespaces"] = [one for one in spec["linux"]["namespaces"] if one["type"] not in _UNSHARED]
    # Nothing of it may need a shell.
    spec["linux"]["maskedPaths"] += [shell for shell in _SHELLS if (image.root / shell[1:]).exists()]
    (folder / "config.json").write_text(json.dumps(spec), "utf-8")
    return ["runc", "--root", str(folder / "runc"), "run", "--bundle", str(folder), folder.name]
