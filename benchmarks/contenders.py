"""The contenders as processes, and what a run of each of them costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from benchmarks.servers import ROOT, Servers

__all__ = ["Contender", "Cost", "run"]

_COMMAND = Path(sys.executable).parent / "dicomcast"


class Contender(StrEnum):
    """Who is measured."""

    PREDECESSOR = "predecessor"
    DICOMCAST = "dicomcast"
    FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost: requests and bytes as the client sees them, seconds, and the most memory at a time in MB."""

    requests: float
    sent: float
    received: float
    wall: float
    cpu: float
    memory: float

    def least(self, other: Cost) -> Cost:
        """The better of two runs, figure by figure: what else the machine does can only add."""
        return Cost(*(min(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)))


def run(contender: Contender, servers: Servers, folder: Path, settings: Mapping[str, str]) -> Cost:
    """Run one to the end of the feed; `folder` is for its files, `settings` are dicomcast's without their prefix.

    Raises:
        RuntimeError: it failed.
    """
    command, environ = _command(contender, servers, folder, settings)
    log = folder / "stderr.txt"
    with log.open("w") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{contender} ended {process.returncode}:\n{log.read_text()[-2000:]}")
    peers = servers.traffic()
    return Cost(
        requests=sum(one["requests"] for one in peers),
        sent=sum(one["received"] for one in peers),
        received=sum(one["sent"] for one in peers),
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss / 1024,
    )


def _command(
    contender: Contender, servers: Servers, folder: Path, settings: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    path = {"PATH": os.environ["PATH"]}
    if contender is Contender.DICOMCAST:
        state = folder / "state.db"
        for old in folder.glob("state.db*"):
            old.unlink()
        told = {
            "DICOM__URL": servers.dicom,
            "FHIR__URL": servers.fhir,
            "PATIENT__SYSTEM": "urn:oid:2.25.1",
            "STATE__URL": f"sqlite:///{state}",
            **settings,
        }
        return [str(_COMMAND), "run", "--once"], path | {f"DICOMCAST_{name}": value for name, value in told.items()}
    arguments = [str(folder / "bundles")] if contender is Contender.FLOOR else []
    return [sys.executable, "-m", f"benchmarks.{contender}", servers.dicom, servers.fhir, *arguments], path
