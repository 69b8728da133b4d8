"""Azure's storage as a process of its own on 127.0.0.1: Azurite, its tables alone and in memory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableClient, TableEntity

from dicomcast.model import Parked
from dicomcast.state.azure_entities import HEAD, PARKED, Head, parked_of, text_of
from tests.servers import ATTEMPTS, ROOT, answers, free_port, node, skip, stop

__all__ = ["ACCOUNT", "KEY", "Tables", "azurite", "connection_string"]

_FOLDER = ROOT / "tests" / "servers" / "azurite" / "node_modules"
# What every Azurite has: no secret.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def connection_string(endpoint: str, *, key: str = KEY) -> str:
    """How a client is told of it."""
    protocol = endpoint.split("://", maxsplit=1)[0]
    return f"DefaultEndpointsProtocol={protocol};AccountName={ACCOUNT};AccountKey={key};TableEndpoint={endpoint}"


@dataclass(frozen=True, slots=True)
class Tables:
    """A corner of an Azurite for one test: the table of a prefix, and what a bystander sees in it."""

    endpoint: str
    prefix: str = field(default_factory=lambda: f"t{uuid4().hex[:20]}")

    @property
    def settings(self) -> dict[str, str]:
        """What the command is told."""
        return {
            "STATE__URL": "azure-tables://",
            "STATE__CONNECTION_STRING": connection_string(self.endpoint),
            "STATE__TABLE_PREFIX": self.prefix,
        }

    @property
    def head(self) -> Head | None:
        """The head of the only feed, None while nothing is there."""
        found = self._rows(HEAD)
        return Head.of(text_of(found[0])) if found else None

    @property
    def parked(self) -> list[Parked]:
        """All parked rows."""
        return [parked_of(text_of(row)) for row in self._rows(PARKED)]

    def _rows(self, prefix: str) -> list[TableEntity]:
        with TableClient.from_connection_string(connection_string(self.endpoint), f"{self.prefix}dicomcast") as table:
            try:
                return list(table.query_entities(f"RowKey ge '{prefix}' and RowKey lt '{prefix}~'"))
            except HttpResponseError:
                return []


@contextmanager
def azurite(
    folder: Path, *options: str, certificate: Sequence[Path] = (), port: int = 0, lasting: bool = False
) -> Iterator[str]:
    """The endpoint of its tables, for as long as the context lasts; over TLS with a `certificate` and its key.

    What it holds is gone with it, or `lasting` in the folder.
    """
    if not (_FOLDER / ".installed").exists():
        skip("azurite is not installed: run `make servers`")
    tls = [text for name, path in zip(("--cert", "--key"), certificate, strict=False) for text in (name, str(path))]
    for _ in range(ATTEMPTS):
        listening = port or free_port()
        address = ["--tableHost", "127.0.0.1", "--tablePort", str(listening)]
        where = ["--location", str(folder)] if lasting else ["--inMemoryPersistence"]
        quiet = [*where, "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
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
            base = f"{'https' if tls else 'http'}://127.0.0.1:{listening}"
            if answers(process, partial(_there, base)):
                yield f"{base}/{ACCOUNT}"
                return
        finally:
            stop(process)
    raise RuntimeError(f"azurite did not start:\n{(folder / 'azurite.txt').read_text(errors='replace')[-2000:]}")


def _there(base: str) -> bool:
    """Whether it answers, with whatever error."""
    return httpx.get(base, timeout=5, trust_env=False, verify=False).status_code >= 400
