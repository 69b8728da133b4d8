"""The image as it is built from the Dockerfile: small, unprivileged, and it casts on a read-only root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from signal import Signals
from typing import Any
from urllib.request import urlopen

import pytest

from dicomcast.settings import KNOWN
from tests.image.buildah import Image, Images, buildah
from tests.image.bundle import bundle
from tests.servers import ROOT, free_port
from tests.servers.embedded import Embedded, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

# What is ours on top of the base, in bytes: Python packages and their bytecode.
LARGEST = {"core": 90_000_000, "azure": 110_000_000}
REPORT = ROOT / "build" / "image-size.txt"


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    """Built, both of them: what they have in common only once."""
    with buildah(tmp_path / "images") as store:
        store.import_base()
        for target in LARGEST:
            store.build(target)
        yield store


def test_the_images(images: Images, embedded: Embedded, tmp_path: Path) -> None:
    """One test, since building takes most of its time."""
    REPORT.parent.mkdir(exist_ok=True)
    lines = []
    for target in LARGEST:
        with images.unpacked(target) as image:
            is_configured(image)
            lines.append(f"image {target}: {size_of(image, target) / 1e6:.0f} MB on the base, {image.size} with it")
            is_compiled(image)
            assert has(image, "orjson") and has(image, "azure") == (target == "azure")
            may_do_nothing(image, tmp_path / f"{target}-powers")
            casts(image, embedded, tmp_path / target, f"1.2.{len(target)}")
    REPORT.write_text("\n".join(lines) + "\n", "utf-8")


def is_configured(image: Image) -> None:
    """A numeric user, a signal that drains, labels, no shell in between, and variables that are settings."""
    config = image.config
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert (config["Entrypoint"], config["Cmd"]) == (["dicomcast"], ["run"])
    assert {"title", "description", "licenses"} <= {name.rpartition(".")[2] for name in config["Labels"]}
    ours = {variable.partition("=")[0] for variable in config["Env"] if variable.startswith("DICOMCAST_")}
    assert ours <= KNOWN.keys()


def size_of(image: Image, target: str) -> int:
    """How much is ours."""
    ours = sum(file.lstat().st_size for file in (image.root / "opt/dicomcast").rglob("*") if file.is_file())
    assert 1_000_000 < ours < LARGEST[target]
    return ours


def has(image: Image, package: str) -> bool:
    """Whether a package is in it."""
    return any((image.root / "opt/dicomcast/lib").glob(f"python3.*/site-packages/{package}"))


def is_compiled(image: Image) -> None:
    """Every module has its bytecode, since nothing can be written beside it later."""
    packages = image.root / "opt/dicomcast/lib"
    sources = [file for file in packages.rglob("*.py") if "lib2to3" not in file.parts]
    bare = [file for file in sources if not [*file.parent.glob(f"__pycache__/{file.stem}.*.pyc")]]
    assert len(sources) > 500 and bare == []


def may_do_nothing(image: Image, folder: Path) -> None:
    """No root, no capability, no new privileges, no file that it could write but for its volume."""
    script = """
import os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(os.getuid(), os.getgid(), int(status["CapEff"], 16), int(status["CapBnd"], 16), int(status["NoNewPrivs"]))
for path in ("/opt/dicomcast/x", "/tmp/x", "/x", "/var/lib/dicomcast/x"):
    try:
        open(path, "w")
        print(path)
    except OSError as error:
        pass
"""
    probe = Image(image.config | {"Entrypoint": ["/opt/dicomcast/bin/python", "-c"]}, image.size, image.root)
    command = bundle(folder, probe, {}, [script])
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["10001", "10001", "0", "0", "1", "/var/lib/dicomcast/x"], done.stderr


def casts(image: Image, embedded: Embedded, folder: Path, study: str) -> None:
    """It casts, answers its probes and shows its metrics, and drains on its stop signal."""
    embedded.put(study)
    settings: dict[str, Any] = {"HEALTH__PORT": str(free_port()), "STATE__URL": "", "LOG__FORMAT": "json"}
    environ = {name: value for name, value in embedded.environ(**settings).items() if name != "PATH"}
    log = folder.with_suffix(".log")
    command = bundle(folder, image, environ)
    with log.open("w") as err, subprocess.Popen(command, stdout=err, stderr=err) as process:
        try:
            until("the study is in FHIR", lambda: study in embedded.studies() or process.poll() is not None)
            until("it is ready", lambda: process.poll() is not None or "windows_total" in metrics(settings))
            process.send_signal(Signals[image.config["StopSignal"]])
            assert process.wait(60) == 0, log.read_text()[-4000:]
        finally:
            process.kill()
    assert study in embedded.studies()
    assert (folder / "state" / "state.db").stat().st_uid == 10001
    assert "dicomcast: 1 created" in log.read_text()


def metrics(settings: dict[str, Any]) -> str:
    """What /metrics says: the image has the extra for it."""
    with urlopen(f"http://127.0.0.1:{settings['HEALTH__PORT']}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text
