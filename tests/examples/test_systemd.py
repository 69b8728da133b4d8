"""`examples/systemd`: the unit and its environment load, and systemd takes the unit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from dicomcast.settings.sources import SECRETS_DIR
from tests.examples.variables import EXAMPLES, loaded, unknown
from tests.servers import skip

FOLDER = EXAMPLES / "systemd"
UNIT = (FOLDER / "dicomcast.service").read_text("utf-8")
VARIABLES = (FOLDER / "dicomcast.env").read_text("utf-8")


def assignments(text: str) -> list[tuple[str, str]]:
    """The lines NAME=VALUE of a unit or an environment file."""
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def values(name: str) -> list[str]:
    """What the unit says of a directive, once or more often."""
    return [value for directive, value in assignments(UNIT) if directive == name]


def test_every_variable_is_a_setting() -> None:
    """In the comments too."""
    assert unknown(UNIT) == unknown(VARIABLES) == set()


def test_the_settings_load(tmp_path: Path) -> None:
    """From the environment file, the unit, and a credential for each secret."""
    environ = dict(assignments(VARIABLES)) | dict(value.split("=", 1) for value in values("Environment"))
    assert environ[SECRETS_DIR] == "%d"
    secrets = [value.split(":")[0] for value in values("LoadCredential")]
    settings = loaded(environ, secrets, tmp_path)
    assert settings.dicom.kind == "orthanc"
    assert settings.dicom.auth.kind == "basic"
    assert settings.health.address == "127.0.0.1"


def test_the_state_is_where_the_service_may_write() -> None:
    """Everything else is read-only."""
    [folder] = values("StateDirectory")
    assert f"DICOMCAST_STATE__URL=sqlite:////var/lib/{folder}/state.db" in values("Environment")


def test_what_a_restart_does_not_mend_is_not_restarted() -> None:
    """A wrong command line alone: what looks like a wrong setting may be a server that is still being started."""
    assert values("RestartPreventExitStatus") == ["2"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """It knows every directive, and finds little that the service could do to the machine."""
    if shutil.which("systemd-analyze") is None:
        skip("systemd-analyze is not installed: on Debian it is in the package systemd")
    unit = tmp_path / "dicomcast.service"
    unit.write_text(UNIT.replace("/opt/dicomcast/bin/dicomcast", sys.executable), encoding="utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=15", str(unit)]
    exposed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert exposed.returncode == 0, exposed.stdout
