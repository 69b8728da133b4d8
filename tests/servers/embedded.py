"""A hospital on loopback: the embedded archive and FHIR server over real HTTP, and the installed command between them.

The servers run in threads of the test, so that it can look into the archive and the store; the command is a
process of its own, and told everything by environment variables.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import Signals
from socket import socket
from sqlite3 import OperationalError, connect
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from dicomcast.demo.archive import DEFAULT_PARTITION, Archive
from dicomcast.demo.dicom_service import dicom_service
from dicomcast.demo.fhir_server import fhir_server
from dicomcast.demo.fhir_store import FhirStore
from dicomcast.demo.serve import serve
from tests.faults import Faults
from tests.harness import SYSTEM, dataset
from tests.servers.azurite import Tables

__all__ = ["COMMAND", "Embedded", "Finished", "Running", "embedded_servers", "silent_port", "until"]

COMMAND = Path(sys.executable).parent / "dicomcast"
# How long anything may take on a machine that is busy with something else.
PATIENCE = 60.0
# Entries are as old as if they had been there for a while: a young gap in the feed is waited for.
_AGE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which holds nothing but one JSON value."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Running:
    """A process under way; `finish` waits for its end."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def said(self) -> str:
        """What there is on stderr so far."""
        return self.log.read_text()

    def signal(self, number: Signals) -> None:
        """Send a signal to a process that has not ended by itself."""
        assert self.process.poll() is None, self.said[-4000:]
        self.process.send_signal(number)

    def finish(self, stdin: str = "") -> Finished:
        """Wait for its end. However it ended, an operator never sees a traceback."""
        try:
            out, _ = self.process.communicate(stdin, timeout=PATIENCE)
        finally:
            self.process.kill()
        assert "Traceback" not in self.said, self.said[-4000:]
        return Finished(self.process.returncode, out, self.said)


def _some_time_ago() -> datetime:
    return datetime.now(UTC) - _AGE


@dataclass(slots=True)
class Embedded:
    """The two servers, and how to run the command on them. Keyword arguments are settings without their prefix."""

    folder: Path
    archive: Archive = field(default_factory=lambda: Archive(clock=_some_time_ago))
    store: FhirStore = field(default_factory=FhirStore)
    fhir_options: dict[str, Any] = field(default_factory=dict)
    dicom_url: str = ""
    fhir_url: str = ""
    tables: Tables | None = None  # where the state is kept, if not in a file
    outside: dict[str, str] = field(default_factory=dict)  # variables of a process that are no settings
    dicom: Faults = field(init=False)
    fhir: Faults = field(init=False)
    _processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dicom = Faults(dicom_service(self.archive))
        self.fhir = Faults(fhir_server(self.store, **self.fhir_options))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an application, the FHIR server at its path, and the archive everywhere else."""
        app = self.fhir if scope.get("path", "").startswith("/fhir") else self.dicom
        await app(scope, receive, send)

    @property
    def state(self) -> Path:
        """The state store's file."""
        return self.folder / "state.db"

    def put(self, study: str, series: str = "1", instance: str = "1", **attributes: Any) -> None:
        """Store a new instance; `series` and `instance` are numbers below the study's UID."""
        series_uid = f"{study}.{series}"
        assert self.archive.store(dataset(study, series_uid, f"{series_uid}.{instance}", **attributes)) == 0

    def environ(self, **settings: str) -> dict[str, str]:
        """All that a process is told."""
        told = {
            "DICOM__URL": self.dicom_url,
            "DICOM__SAFETY_LAG": "0s",
            "FHIR__URL": self.fhir_url,
            "PATIENT__SYSTEM": SYSTEM,
            "STATE__URL": f"sqlite:///{self.state}",
            "WORKER__RETRY_BUDGET": "0s",
            **(self.tables.settings if self.tables else {}),
            **settings,
        }
        ours = {f"DICOMCAST_{name}": value for name, value in told.items() if value}
        return {"PATH": os.environ["PATH"], **self.outside, **ours}

    def start(self, *arguments: str | Path, **settings: str) -> Running:
        """Start the command and do not wait for it."""
        return self.launch(arguments, self.environ(**settings))

    def launch(self, arguments: Sequence[str | Path], environ: Mapping[str, str]) -> Running:
        """The same with variables that somebody else thought out."""
        log = self.folder / f"stderr-{len(self._processes)}.txt"
        with log.open("w") as err:
            process = subprocess.Popen(
                [COMMAND, *arguments],
                cwd=self.folder,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
        self._processes.append(process)
        return Running(process, log)

    def run(self, *arguments: str | Path, stdin: str = "", code: int | None = None, **settings: str) -> Finished:
        """Run the command to its end, which must be `code` if that is given."""
        finished = self.start(*arguments, **settings).finish(stdin)
        assert code in (None, finished.code), f"ended {finished.code} instead of {code}:\n{finished.err[-4000:]}"
        return finished

    def kill_all(self) -> None:
        """Leave no process behind, whatever became of the test."""
        for process in self._processes:
            process.kill()
            process.communicate()

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Read the state store as a bystander; nothing where there is none yet."""
        try:
            with closing(connect(f"file:{self.state}?mode=ro", uri=True, timeout=10)) as database:
                return database.execute(statement).fetchall()
        except OperationalError as error:
            if str(error).startswith(("no such table", "unable to open")):
                return []
            raise

    @property
    def cursor(self) -> tuple[int, int]:
        """(sequence, revision) of the checkpoint; zeros while there is none."""
        if self.tables is not None:
            head = self.tables.head
            return (head.cursor["sequence"], head.revision) if head and head.cursor else (0, 0)
        found = self.query("SELECT sequence, revision FROM checkpoint")
        return (found[0][0], found[0][1]) if found else (0, 0)

    @property
    def epoch(self) -> int:
        """That of the lease; 0 while there is none."""
        if self.tables is not None:
            head = self.tables.head
            return head.lease["epoch"] if head and head.lease else 0
        return max((row[0] for row in self.query("SELECT epoch FROM lease")), default=0)

    @property
    def parked(self) -> int:
        """How many studies are parked."""
        return len(self.query("SELECT * FROM parked") if self.tables is None else self.tables.parked)

    def studies(self) -> dict[str, dict[str, Any]]:
        """The ImagingStudies by StudyInstanceUID."""
        found = self.store.resources("ImagingStudy")
        return {one["identifier"][0]["value"].removeprefix("urn:oid:"): one for one in found}

    def delete(self, study: str, *below: str) -> None:
        """Delete a study, or what is below it."""
        self.archive.delete(DEFAULT_PARTITION, study, *below)


@contextmanager
def embedded_servers(
    folder: Path,
    *,
    front: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    tls: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[Embedded]:
    """Both servers, on one port of their own, behind a `front`; `tls` are uvicorn's, `options` those of `Embedded`."""
    servers = Embedded(folder, **options)
    with serve(front(servers), **(tls or {})) as servers.dicom_url:
        servers.fhir_url = f"{servers.dicom_url}/fhir"
        try:
            yield servers
        finally:
            servers.kill_all()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port where connections are refused, for as long as the context lasts."""
    with socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def until(what: str, condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Wait for something that will happen soon."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"it took too long until {what}"
        time.sleep(0.01)
