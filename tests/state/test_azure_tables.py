"""Azure's tables on a bad day: each failure is a sentence that says what to do, and never the secret."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.data.tables import TableSasPermissions, TableServiceClient, generate_table_sas
from starlette.responses import HTMLResponse

from dicomcast.demo.serve import serve
from dicomcast.errors import ConfigError, StateError, StateRefused
from dicomcast.model import Checkpoint, Cursor
from dicomcast.state import StateStore, TableAccess, azure_table, open_store
from tests.servers import free_port
from tests.servers.azurite import ACCOUNT, KEY, azurite, connection_string
from tests.stores import MINUTE, NOW, row

FEED = "https://archive.test"
Opener = Callable[..., StateStore]


@pytest.fixture
def prefix() -> str:
    """That of a table of the test's own."""
    return f"t{uuid4().hex[:20]}"


@pytest.fixture
async def opener(prefix: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Opener]:
    """Opens stores by a connection string, in that table, without repeating what fails."""
    monkeypatch.setattr(azure_table, "_REPEATS", 0)
    async with AsyncExitStack() as stack:

        def connect(secret: str, *, url: str = "azure-tables://", **options: Any) -> StateStore:
            store = open_store(url, table=TableAccess(secret, prefix), **options)
            stack.push_async_callback(store.close)
            return store

        yield connect


async def refused(store: StateStore, kind: type[StateError], *secrets: str) -> str:
    """What is said where nothing can be written; what it is made of knows no secret either."""
    with pytest.raises(kind) as caught:
        await store.acquire(FEED, "a", NOW, MINUTE)
    assert type(caught.value) is kind
    told = "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in secrets if secret in told]
    return str(caught.value)


# --- What is there ---


async def test_the_table_is_made_with_the_first_write(opener: Opener, tables: str) -> None:
    """Who only looks makes none, and finds an empty store."""
    secret = connection_string(tables)
    with TableServiceClient.from_connection_string(secret) as service:
        before = {table.name for table in service.list_tables()}
        looking = opener(secret, read_only=True)
        assert await looking.load(FEED) == Checkpoint(FEED, None)
        assert (await looking.parked(FEED), await looking.lease(FEED), await looking.inventory(FEED)) == ([], None, [])
        assert {table.name for table in service.list_tables()} == before
        await opener(secret).advance(Checkpoint(FEED, None), to=Cursor(1), parked=[row("1")])
        [made] = {table.name for table in service.list_tables()} - before
        assert made.endswith("dicomcast")
    assert (await looking.load(FEED)).revision == 1
    assert await looking.parked(FEED) == [row("1")]


async def test_deployments_share_an_account(tables: str) -> None:
    """Each has a table of its own, by its prefix."""
    one, two = (
        open_store("azure-tables://", table=TableAccess(connection_string(tables), f"{name}{uuid4().hex[:12]}"))
        for name in ("north", "south")
    )
    await one.advance(Checkpoint(FEED, None), to=Cursor(1))
    assert (await two.load(FEED)).revision == 0
    await one.close()
    await two.close()


async def test_what_a_table_cannot_hold(opener: Opener, tables: str) -> None:
    """A position of any size that an entity holds, keys that a table refuses, and text of any kind."""
    store = opener(connection_string(tables))
    feed = "https://archive.test/a#b?c\\d/ü%"
    big = Cursor(2**40, "", {"recent": [[number, number, "ü" * 10] for number in range(6000)]})
    at = await store.advance(Checkpoint(feed, None), to=big, parked=[row("1/2#3?4\\5", "north/ward\n\x7f")])
    assert (await opener(connection_string(tables)).load(feed)).cursor == big
    assert await store.parked(feed) == [row("1/2#3?4\\5", "north/ward\n\x7f")]
    longest = {"1." + "2" * 400: "a", "1." + "2" * 401: "b", "\ud800": "c", "": "d"}
    await store.record(feed, longest)
    assert await store.fingerprints(feed, longest) == longest
    assert set(await store.inventory(feed)) == longest.keys() - {""}
    with pytest.raises(StateError, match="a row cannot be written|cannot be read or written"):
        await store.advance(at, to=Cursor(1, "", {"recent": "x" * 500_000}), parked=[row("2")])
    assert await store.load(feed) == at


async def test_more_than_a_transaction_holds(opener: Opener, tables: str) -> None:
    """On the real thing too: by number of rows, and by their size."""
    store, other = opener(connection_string(tables)), opener(connection_string(tables))
    many = [row(f"{number:03}") for number in range(230)]
    at = await store.advance(Checkpoint(FEED, None), to=Cursor(1), parked=many)
    assert await other.parked(FEED) == many
    large = [row(f"{number:03}", codes=('"' * 70_000,)) for number in range(40)]
    await store.advance(at, to=Cursor(2), parked=large, resolved=[one.key for one in many[40:]])
    assert await other.parked(FEED) == large
    assert await opener(connection_string(tables)).parked(FEED) == large


# --- Who is not let in ---


async def test_a_wrong_key(opener: Opener, tables: str) -> None:
    """A key that was renewed since, or is another account's."""
    wrong = KEY[::-1].lstrip("=") + "=="
    said = await refused(opener(connection_string(tables, key=wrong)), StateRefused, wrong, KEY)
    assert said.startswith("DICOMCAST_STATE__CONNECTION_STRING: ") and "is the key that of this account" in said


async def test_a_permission_that_is_missing(opener: Opener, prefix: str, tables: str) -> None:
    """A signature that may read and not write."""
    secret = connection_string(tables)
    await opener(secret).acquire(FEED, "b", NOW - timedelta(hours=1), MINUTE)
    signature = generate_table_sas(
        AzureNamedKeyCredential(ACCOUNT, KEY),
        f"{prefix}dicomcast",
        permission=TableSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    reader = opener(f"TableEndpoint={tables};SharedAccessSignature={signature}")
    assert await reader.lease(FEED) is not None
    said = await refused(reader, StateRefused, signature, signature.split("sig=")[-1][:12])
    assert "does a signature allow to write?" in said


async def test_nobody_there(opener: Opener) -> None:
    """A port where nobody listens, and a name that DNS does not know: both may pass, so both are waited for."""
    for host in (f"http://127.0.0.1:{free_port()}/{ACCOUNT}", f"https://{ACCOUNT}.invalid"):
        said = await refused(opener(connection_string(host)), StateError, KEY)
        assert "no connection to the storage account; is the name right" in said


async def test_an_account_that_goes_away(opener: Opener, tmp_path: Path) -> None:
    """What was open before says so too."""
    with azurite(tmp_path) as endpoint:
        store = opener(connection_string(endpoint))
        at = await store.advance(Checkpoint(FEED, None), to=Cursor(1), parked=[row("1")])
    with pytest.raises(StateError, match="no connection|did not answer"):
        await store.advance(at, to=Cursor(2))


ENTRA = SimpleNamespace(
    status_code=401,
    reason="Unauthorized",
    headers={},
    content_type="application/json",
    text=lambda *_: '{"error": "invalid_client", "error_description": "AADSTS7000222: s3same has expired"}',
)


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (ClientAuthenticationError("no identity"), StateRefused, "give the container a managed identity"),
        (ClientAuthenticationError("AADSTS7000222: s3same has expired"), StateRefused, "token (AADSTS7000222): check"),
        (
            ClientAuthenticationError("AADSTS7000222: s3same", response=ENTRA),
            StateRefused,
            "token (AADSTS7000222): check",
        ),
        (FileNotFoundError("s3same"), StateError, "a file of the identity cannot be read (FileNotFoundError)"),
    ],
    ids=["none", "refused", "refused later", "a file of it is being replaced"],
)
async def test_no_token(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[StateError], told: str
) -> None:
    """Where nothing says who we are, or that is refused, it is told, and it is not the storage account's doing."""

    class Nobody:
        def get_token(self, *_: str, **__: Any) -> Any:
            raise error

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(azure_table, "azure_credential", lambda *_, **__: Nobody())
    said = await refused(opener("", url="azure-tables://account"), kind, "s3same")
    assert "account.table.core.windows.net" in said and told in said


@pytest.mark.parametrize("status", [200, 404, 500, 502])
async def test_what_answers_is_no_storage_account(opener: Opener, status: int) -> None:
    """A page of a proxy in between is waited out, whatever it says."""
    with serve(HTMLResponse("<html>log in</html>", status)) as url:
        said = await refused(opener(connection_string(f"{url}/{ACCOUNT}")), StateError)
    assert "the storage account failed" in said


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said at once, and only where the store is asked for."""
    monkeypatch.setitem(__import__("sys").modules, "azure.data.tables", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[azure\]'"):
        open_store("azure-tables://account")
    open_store("sqlite://")
