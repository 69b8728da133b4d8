"""Azure's storage as a process of its own on 127.0.0.1: Azurite, its tables alone and in memory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from tests.servers import ATTEMPTS, ROOT, answers, free_port, node, skip, stop

__all__ = ["ACCOUNT", "KEY", "azurite", "connection_string"]

_FOLDER = ROOT / "tests" / "servers" / "azurite" / "node_modules"
# What every Azurite has: no secret.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def connection_string(endpoint: str, *, key: str = KEY) -> str:
    """How a client is told of it."""
    protocol = endpoint.split("://", maxsplit=1)[0]
    return f"DefaultEndpointsProtocol={protocol};AccountName={ACCOUNT};AccountKey={key};TableEndpoint={endpoint}"


@contextmanager
def azurite(folder: Path, *options: str, certificate: Sequence[Path] = ()) -> Iterator[str]:
    """The endpoint of its tables, for as long as the context lasts; over TLS with a `certificate` and its key."""
    if not (_FOLDER / ".installed").exists():
        skip("azurite is not installed: run `make servers`")
    tls = [text for name, path in zip(("--cert", "--key"), certificate, strict=False) for text in (name, str(path))]
    for _ in range(ATTEMPTS):
        port = free_port()
        address = ["--tableHost", "127.0.0.1", "--tablePort", str(port)]
        quiet = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
        with (folder / "azurite.txt").open("wb") as log:
            process = subprocess.Popen(
                [node(), _FOLDER / "azurite/dist/src/table/main.js", *address, *quiet, *tls, *options],
                cwd=folder,
                env={"HOME": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            base = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            if answers(process, partial(_there, base)):
                yield f"{base}/{ACCOUNT}"
                return
        finally:
            stop(process)
    raise RuntimeError(f"azurite did not start:\n{(folder / 'azurite.txt').read_text(errors='replace')[-2000:]}")


def _there(base: str) -> bool:
    """Whether it answers, with whatever error."""
    return httpx.get(base, timeout=5, trust_env=False, verify=False).status_code >= 400
