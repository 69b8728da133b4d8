"""Builds the Dockerfile without a container engine, where no base image can be fetched: Debian's own Python stands in.

The stand-in is made once and kept in the user's cache; it is larger than the official image, which has no apt lists.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import ROOT, skip

__all__ = ["Image", "Images", "buildah"]

_NEEDED = ("buildah", "mmdebstrap", "runc")
_STAND_IN = "docker.io/library/python:3.13-slim"
_SUITE = "trixie"  # its Python is 3.13
_PACKAGES = "python3,python3-pip,python3-venv,ca-certificates,tzdata"
_CERTIFICATES = "/etc/ssl/certs:/etc/ssl/certs:ro"


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its configuration as the registry would have it, its size as told, and its files on this machine."""

    config: dict[str, Any]
    size: str
    root: Path


class Images:
    """A store of images of its own."""

    def __init__(self, folder: Path) -> None:
        self._options = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]

    def _buildah(self, *arguments: str) -> str:
        command = ["buildah", *self._options, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout.strip()

    def import_base(self) -> None:
        """Give the stand-in the name of the image that the Dockerfile asks for."""
        container = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", container, str(_base()), "/")
        self._buildah("commit", "--quiet", "--rm", container, _STAND_IN)

    def build(self, target: str) -> None:
        """Build a target of the Dockerfile."""
        reach = ["--network", "host", "--volume", _CERTIFICATES]  # pip's, not the image's
        how = ["--isolation", "chroot", "--pull-never", "--layers", "--target", target, "--tag", target]
        self._buildah("bud", *reach, *how, ".")

    @contextmanager
    def unpacked(self, name: str) -> Iterator[Image]:
        """An image with its files, for as long as the context lasts."""
        container = self._buildah("from", "--pull-never", f"localhost/{name}")
        try:
            known = json.loads(self._buildah("inspect", "--type", "image", f"localhost/{name}"))
            [told] = [one["size"] for one in json.loads(self._buildah("images", "--json", f"localhost/{name}"))]
            yield Image(known["OCIv1"]["config"], told, Path(self._buildah("mount", container)))
        finally:
            self._buildah("umount", container)
            self._buildah("rm", container)


def _base() -> Path:
    """The stand-in, as a tar file."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dicomcast"
    base = cache / f"{_SUITE}.tar"
    if not base.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = cache / f"{_SUITE}-{os.getpid()}.tar"
        command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={_PACKAGES}", _SUITE, str(unfinished)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        unfinished.rename(base)
    return base


@contextmanager
def buildah(folder: Path) -> Iterator[Images]:
    """A store of images in a folder, which is gone afterwards; it takes root, to own the files of others."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        skip(f"images are built as root, with Debian's {', '.join(_NEEDED)}")
    try:
        yield Images(folder)
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
