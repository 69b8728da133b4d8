"""The preflight: what it finds in each trouble, that it leaves nothing behind, and that its page is true."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicomcast import check
from dicomcast.check import Finding, State, examine, exit_code
from dicomcast.errors import StateError
from dicomcast.obstacles import obstacle
from dicomcast.reach import reach
from dicomcast.settings import load_settings
from dicomcast.state import open_store
from dicomcast.state.trial import try_out
from dicomcast.tls import Files
from tests.check_page import PAGE, SCENARIOS, blocks, printed
from tests.faults import outcome, refuse
from tests.servers.embedded import Embedded, embedded_servers


async def findings(site: Embedded, **settings: str) -> dict[str, Finding]:
    """What is found, by peer and step."""
    return {f"{one.about} {one.step}": one async for one in examine(load_settings(site.environ(**settings)))}


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_each_trouble_is_told_as_the_page_shows(tmp_path: Path, scenario: str) -> None:
    """Cause and remedy, and what comes after it is not tried; `python -m tests.check_page` writes the page anew."""
    assert blocks(PAGE.read_text("utf-8"))[scenario] == await printed(scenario, tmp_path)


def test_the_page_shows_each_trouble() -> None:
    """And no other."""
    assert list(blocks(PAGE.read_text("utf-8"))) == list(SCENARIOS)


def test_the_command(embedded: Embedded) -> None:
    """A line for each step, or JSON; the exit code is the worst; nothing is left behind."""
    embedded.put("1.2.3")
    ended = embedded.run("check", code=0)
    assert len(ended.out.splitlines()) == 10 and " ok " in ended.out and ended.err == ""
    rows = embedded.run("check", "--json", FHIR__VERSION="5.0", code=78).json
    assert [row["step"] for row in rows if not row["ok"]] == ["capabilities", "read", "write"]
    assert embedded.store.total_versions() == 0
    assert [path.name for path in embedded.folder.iterdir() if "state" in path.name] == []


async def test_beside_a_worker(embedded: Embedded) -> None:
    """Its lease is told and not taken, its store has nothing more in it than before."""
    embedded.put("1.2.3")
    store = open_store(f"sqlite:///{embedded.state}")
    held = await store.acquire(embedded.dicom_url, "host:1:abc", datetime.now(UTC), timedelta(minutes=1))
    found = await findings(embedded)
    assert found["state lease"].said.startswith("held by host:1:abc, a worker that is active on this archive")
    assert found["state lease"].state is State.OK
    assert await store.lease(embedded.dicom_url) == held
    assert embedded.query("SELECT * FROM inventory") == []
    await store.close()


@pytest.mark.parametrize("transactions", [True, False])
async def test_the_write_probe(tmp_path: Path, transactions: bool) -> None:
    """With transactions and without: it deletes what is not there; a refusal of the bundle or in it is a refusal."""
    with embedded_servers(tmp_path, fhir_options={"transactions": transactions}) as site:
        assert (await findings(site))["fhir write"].state is State.OK
        faults = {77: refuse(403), 78: refuse(422, body=outcome("invalid")), 75: refuse(503)}
        # A way that does not let a POST to the base pass is no server that has not what is to be deleted.
        for code, fault in [*faults.items(), (78, refuse(404)), (78, refuse(404, body=b"<html>no such page"))]:
            site.fhir.heal()
            site.fhir.always(fault, on="POST /fhir/$")
            found = (await findings(site))["fhir write"]
            assert (found.state, found.code) == (State.WRONG, code)
        assert site.store.total_versions() == 0


@pytest.mark.long
async def test_the_cursor_is_recognised(embedded: Embedded) -> None:
    """An archive that was recreated since is told before a worker meets it."""
    embedded.put("1.2.3")
    embedded.put("1.2.4")
    embedded.run("run", "--once", code=0)
    before = embedded.store.total_versions()
    assert exit_code(list((await findings(embedded)).values())) == 0
    (embedded.folder / "new").mkdir()
    with embedded_servers(embedded.folder / "new") as another:
        another.put("1.2.5")
        found = await findings(another, STATE__URL=f"sqlite:///{embedded.state}", DICOM__PUBLIC_URL=embedded.dicom_url)
    assert found["dicom read"].code == 78 and "this is not the archive that was read" in found["dicom read"].said
    assert embedded.store.total_versions() == before


def test_the_worst_counts() -> None:
    """A setting first, then a permission, then what may pass."""
    made = {code: Finding("fhir", "read", State.WRONG, "", code) for code in (75, 77, 78)}
    ok = Finding("fhir", "read", State.OK)
    assert exit_code([ok]) == 0
    assert exit_code([ok, made[75]]) == 75
    assert exit_code([made[75], made[77], ok]) == 77
    assert exit_code([made[77], made[78], made[75]]) == 78


async def test_who_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is waiting for the answer; the step ends, and may pass."""
    monkeypatch.setattr(check, "_PATIENCE", 0)

    async def silent() -> str:
        await asyncio.sleep(60)
        return ""

    found = await check._tried("fhir", "read", silent())
    assert (found.state, found.code, found.said) == (State.WRONG, 75, "no answer within 0 seconds")
    assert obstacle(TimeoutError(), "FHIR__", Files()).startswith("nothing answers there in time")


async def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is behind it cannot be resolved or connected to from here, and need not."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert "through the proxy" in await reach("fhir", "https://fhir.invalid", Files())


async def test_a_store_that_is_no_store(tmp_path: Path) -> None:
    """What is there is left as it is, and a file beside it goes whatever happens."""
    path = tmp_path / "state.db"
    path.write_bytes(b"something else, for long enough to be no SQLite file at all" * 20)
    with pytest.raises(StateError, match="this is no SQLite file"):
        await try_out(f"sqlite:///{path}", open_store)
    path.unlink()
    with pytest.raises(StateError, match=r"folder/state.db: cannot be opened"):
        await try_out(f"sqlite:///{tmp_path / 'folder' / 'state.db'}", open_store)
    await try_out(f"sqlite:///{path}", open_store)
    assert os.listdir(tmp_path) == []
