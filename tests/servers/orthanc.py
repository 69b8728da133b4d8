"""Orthanc as a process on 127.0.0.1, with its plugins for DICOMweb and Python; see CONTRIBUTING.md for the packages."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.servers import ATTEMPTS, ROOT, answers, free_port, skip, stop

__all__ = ["JSON", "Orthanc", "orthanc", "require_orthanc", "self_signed"]

JSON = dict[str, Any]

_PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian puts it, which is not on everybody's PATH
_PLUGINS = Path("/usr/share/orthanc/plugins")
_DICOMWEB, _PYTHON = _PLUGINS / "libOrthancDicomWeb.so", _PLUGINS / "libOrthancPython.so"
_SOURCE, _LIBRARY = Path(__file__).with_suffix(".c"), ROOT / "build" / "orthanc.so"


def require_orthanc() -> None:
    """Skip the test where something is not installed that it needs; where CI is set, that is a failure."""
    for program in ("Orthanc", "cc", "openssl"):
        if not shutil.which(program, path=_PATH):
            skip(f"{program} is not installed: see CONTRIBUTING.md")
    for plugin in (_DICOMWEB, _PYTHON):
        if not plugin.exists():
            skip(f"{plugin.name} is not installed: see CONTRIBUTING.md")


@dataclass(slots=True)
class Orthanc:
    """One Orthanc. Its `config` is written anew at every start; port and content stay."""

    folder: Path
    config: JSON
    user: tuple[str, str] | None = None
    certificate: Path | None = None
    port: int = 0
    http: httpx.Client = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said since it was started last."""
        return (self.folder / "log.txt").read_text(errors="replace")

    # The process

    def start(self) -> None:
        """Start it and wait until it answers; the first time on a port that is free, later on the same."""
        for _ in range(1 if self.port else ATTEMPTS):
            port = self.port or free_port()
            if self._launch(port):
                return
        raise RuntimeError(f"Orthanc did not start:\n{self.log[-2000:]}")

    def _launch(self, port: int) -> bool:
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps({**self.config, "HttpPort": port}))
        with (self.folder / "log.txt").open("wb") as log:
            self._process = process = subprocess.Popen(
                ["Orthanc", str(config)],
                cwd=self.folder,
                env={"PATH": _PATH, "HOME": str(self.folder), "LD_PRELOAD": str(_library())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        known, self.port = self.port, port
        verify: Any = ssl.create_default_context(cafile=str(self.certificate)) if self.certificate else True
        self.http = httpx.Client(base_url=self.url, auth=self.user, verify=verify, timeout=60, trust_env=False)
        if answers(process, lambda: self.http.get("/system").status_code == 200):
            return True
        self.kill()
        self.port = known
        return False

    def stop(self) -> None:
        """SIGTERM, and wait until it has ended: it finishes what is under way, and writes what it has in memory."""
        if self._process:
            stop(self._process)
            self._ended()

    def kill(self) -> None:
        """SIGKILL: what it had in memory is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._ended()

    def _ended(self) -> None:
        self._process = None
        self.http.close()

    # Its REST API

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """What it answers, as JSON; anything but success is an error."""
        answer = self.http.request(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def store(self, file: bytes) -> str:
        """Store a DICOM file; its ID in Orthanc, also where it was there already."""
        return str(self.ask("POST", "/instances", content=file)["ID"])

    def stow(self, files: Iterable[bytes]) -> JSON:
        """Store DICOM files in one request of STOW-RS (PS3.18 §10.5); what the response says of each."""
        mark = uuid4().hex
        head = f"--{mark}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(head + file + b"\r\n" for file in files) + f"--{mark}--\r\n".encode()
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={mark}',
            "Accept": "application/dicom+json",
        }
        return dict(self.ask("POST", "/dicom-web/studies", content=body, headers=headers))

    def delete(self, level: str, id: str) -> None:
        """Delete a `patient`, `study`, `series` or `instance` by its ID in Orthanc."""
        self.ask("DELETE", f"/{_plural(level)}/{id}")

    def lookup(self, uid: str) -> list[str]:
        """The IDs in Orthanc of all that have this UID, or patients with this PatientID."""
        return [found["ID"] for found in self.ask("POST", "/tools/lookup", content=uid)]

    def modify(self, level: str, id: str, **request: Any) -> JSON:
        """Modify it, as in `Replace={"PatientID": "B"}, Force=True, KeepSource=False`; waits for the end of the job."""
        return dict(self.ask("POST", f"/{_plural(level)}/{id}/modify", json={**request, "Synchronous": True}))


def _plural(level: str) -> str:
    return {"patient": "patients", "study": "studies", "series": "series", "instance": "instances"}[level]


def _library() -> Path:
    """What is preloaded, compiled when it is first needed; tests that run beside may do so too."""
    if not _LIBRARY.exists() or _LIBRARY.stat().st_mtime < _SOURCE.stat().st_mtime:
        _LIBRARY.parent.mkdir(exist_ok=True)
        compiled = _LIBRARY.with_name(f"{uuid4().hex}.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", compiled, _SOURCE, "-ldl"], check=True)
        compiled.replace(_LIBRARY)
    return _LIBRARY


def self_signed(folder: Path) -> Path:
    """A new certificate for 127.0.0.1 and its key, in one file as Orthanc wants them."""
    require_orthanc()
    file = folder / "certificate.pem"
    name = ("-subj", "/CN=Orthanc", "-addext", "subjectAltName=IP:127.0.0.1")
    request = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-keyout", "-", *name)
    file.write_bytes(subprocess.run(request, check=True, capture_output=True).stdout)
    return file


@contextmanager
def orthanc(
    folder: Path,
    *,
    dicomweb: bool = True,
    script: Path | None = None,
    overwrite: bool = False,
    stable_age: int = 1,
    user: tuple[str, str] | None = None,
    certificate: Path | None = None,
    **config: Any,
) -> Iterator[Orthanc]:
    """An Orthanc that is running; at the end it is killed, which is quicker than to stop it.

    Everything of it is in `folder`. `script` is a plugin in Python, `user` a name and password without which
    it refuses, `certificate` a file in PEM with a certificate for 127.0.0.1 and its key. What else stands in
    Orthanc's configuration can be given by its name there.
    """
    require_orthanc()
    folder.mkdir(exist_ok=True)
    plugins = [str(_DICOMWEB)] * dicomweb + [str(_PYTHON)] * (script is not None)
    given: JSON = {
        "Name": "test",
        "StorageDirectory": str(folder / "content"),
        "IndexDirectory": str(folder / "content"),
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "Plugins": plugins,
        "OverwriteInstances": overwrite,
        "StableAge": stable_age,
        "AuthenticationEnabled": user is not None,
    }
    if script:
        given["PythonScript"] = str(script)
    if user:
        given["RegisteredUsers"] = {user[0]: user[1]}
    if certificate:
        given |= {"SslEnabled": True, "SslCertificate": str(certificate)}
    server = Orthanc(folder, {**given, **config}, user, certificate)
    server.start()
    try:
        yield server
    finally:
        server.kill()
