"""`backfill` as an operator sees it: what it says, how it ends, and what stands in FHIR then."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from signal import SIGKILL, SIGTERM

import pytest
import typer

from dicomcast.cli.backfill import _rate
from tests.faults import Fault
from tests.history import idle_versions
from tests.servers.embedded import COMMAND, PATIENCE, Embedded, until

# Small enough that a test can look between two of them.
SLOW = ["--rate", "1/s"]


def fill(embedded: Embedded, count: int) -> None:
    for number in range(count):
        embedded.put(f"1.2.{number}", PatientID=f"P{number}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "10"], "write studies a second, minute or hour, such as 10/s, 300/m or 5000/h"),
        (["--dry-run", "--json"], "choose one"),
    ],
)
def test_usage_errors(embedded: Embedded, arguments: list[str], said: str) -> None:
    """What cannot be meant ends with 2, before anything is done."""
    ended = embedded.run("backfill", *arguments, code=2)
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert (embedded.dicom.requests, embedded.state.exists()) == ([], False)


@pytest.mark.parametrize(("text", "rate"), [("10/s", 10), ("0.5/s", 0.5), (" 300/M ", 5), ("3600/h", 1)])
def test_a_rate(text: str, rate: float) -> None:
    """Studies a second, minute or hour."""
    assert _rate(text) == rate


@pytest.mark.parametrize("text", ["", "10", "0/s", "-1/s", "ten", "1/d", "1e9/s", "10 / s"])
def test_no_rate(text: str) -> None:
    """All else is refused."""
    with pytest.raises(typer.BadParameter, match="such as 10/s"):
        _rate(text)


def test_help_says_what_it_is_for(embedded: Embedded) -> None:
    """And what may not run beside it."""
    said = " ".join(embedded.run("backfill", "--help", code=0).out.split())
    for words in (
        "feed does not reach back",
        "new FHIR server",
        "No other worker may be active",
        "--rate",
        "--restart",
    ):
        assert words in said


def test_an_archive_whose_feed_was_never_read(embedded: Embedded) -> None:
    """All is cast, without the feed; `run` goes on from where that stood, and a second backfill finds all right."""
    fill(embedded, 5)
    ended = embedded.run("backfill", "--json", code=0)
    facts = ended.json
    assert (facts["complete"], facts["studies"], facts["created"], facts["left"]) == (True, 5, 5, 0)
    assert (facts["settled_before"], facts["parked_now"], facts["live"]["created"]) == (0, 0, 0)
    assert ended.err.splitlines()[-1] == "dicomcast: all 5 studies are settled: 5 created; 0 parked now"
    assert "\r" not in ended.err and '"event": "backfill.progress"' in ended.err
    assert not [one for one in embedded.dicom.requests if "changefeed?" in one and "includeMetadata=true" in one]
    assert embedded.cursor[0] == 5
    embedded.put("1.3.1")
    assert embedded.run("run", "--once", code=0).err.splitlines()[-1] == "dicomcast: 1 created; 0 parked now"
    ended = embedded.run("backfill", code=0)
    assert ended.err.splitlines()[-1] == "dicomcast: all 6 studies are settled: 6 unchanged; 0 parked now"
    assert (ended.out, idle_versions(embedded.store)) == ("", [])


@pytest.mark.long
def test_killed_and_begun_again(embedded: Embedded) -> None:
    """It goes on with what is left, and says how many were settled before; its list is gone in the end."""
    fill(embedded, 8)
    running = embedded.start("backfill", *SLOW, WORKER__LEASE="1s")
    until("some are settled", lambda: 3 <= 8 - len(embedded.query("SELECT * FROM backfill")) < 8 and embedded.studies())
    running.signal(SIGKILL)
    running.finish()
    left = len(embedded.query("SELECT * FROM backfill"))
    assert embedded.run("status", "--json", code=0).json["backfill_left"] == left
    read = len([one for one in embedded.dicom.requests if one.endswith("/metadata")])
    ended = embedded.run("backfill", "--json", WORKER__LEASE="1s", code=0)
    assert ended.json["settled_before"] == 8 - left
    assert ended.json["created"] + ended.json["unchanged"] == left
    assert f"all 8 studies are settled ({8 - left} settled before): " in ended.err
    assert len([one for one in embedded.dicom.requests if one.endswith("/metadata")]) == read + left
    assert embedded.run("status", "--json", code=0).json["backfill_left"] is None
    assert len(embedded.studies()) == 8 and idle_versions(embedded.store) == []
    assert embedded.query("SELECT * FROM backfill") == []


@pytest.mark.long
def test_sigterm_and_a_limit_end_it_well(embedded: Embedded) -> None:
    """What is in hand is finished; how many are left is said, with exit code 0."""
    fill(embedded, 12)
    running = embedded.start("backfill", *SLOW)
    until("some are settled", lambda: len(embedded.studies()) >= 5)
    running.signal(SIGTERM)
    ended = running.finish()
    assert ended.code == 0
    found = re.search(r"(\d+) of 12 studies are left; the next backfill goes on with them: (\d+) created", ended.err)
    assert found and int(found[1]) + int(found[2]) == 12 and int(found[1]) > 0
    ended = embedded.run("backfill", "--rate", "1/h", "--max-duration", "2s", "--json", code=0)
    assert ended.json["complete"] is False
    assert ended.json["left"] == int(found[1]) - 1
    assert embedded.run("backfill", "--restart", "--json", code=0).json["studies"] == 12


def test_parked_studies(embedded: Embedded) -> None:
    """They do not fail it, but with --strict it exits 1."""
    fill(embedded, 3)
    embedded.archive.poison("1.2.1", "1.2.1.1", "1.2.1.1.1", "corrupt")
    ended = embedded.run("backfill", "--strict", code=1)
    assert ended.err.splitlines()[-1] == "dicomcast: all 3 studies are settled: 2 created, 1 parked; 1 parked now"


def test_beside_a_worker(embedded: Embedded) -> None:
    """It says so, and what to do: exit 77. The worker goes on."""
    fill(embedded, 2)
    running = embedded.start("run", WORKER__LEASE="2s")
    until("it is active", lambda: len(embedded.studies()) == 2)
    ended = embedded.run("backfill", WORKER__LEASE="2s", code=77)
    assert re.search(r"dicomcast: another worker \(.*\) is active on this source: stop it", ended.err)
    running.signal(SIGTERM)
    assert running.finish().code == 0


@pytest.mark.long
def test_a_peer_that_stays_away(embedded: Embedded) -> None:
    """With --max-duration it ends with 75, and nothing is lost."""
    fill(embedded, 2)
    embedded.fhir.always(Fault(503), on="POST")
    embedded.run("backfill", "--max-duration", "8s", code=75, WORKER__POLL_INTERVAL="1s")
    assert embedded.studies() == {}
    embedded.fhir.heal()
    assert embedded.run("backfill", "--json", code=0).json["created"] == 2


def test_a_dry_run(embedded: Embedded) -> None:
    """The bundles are printed, and nothing is written, listed or pinned."""
    fill(embedded, 3)
    ended = embedded.run("backfill", "--dry-run", code=0)
    assert len(ended.out.splitlines()) == 4  # one makes the Endpoint
    assert "dry run, nothing was written; a backfill would report: all 3 studies are settled" in ended.err
    assert (embedded.studies(), embedded.state.exists()) == ({}, False)


def test_a_bar_on_a_terminal(embedded: Embedded) -> None:
    """It is drawn over by what is said next, and gone in the end; stdout is the result alone."""
    fill(embedded, 8)
    ours, theirs = pty.openpty()
    environ = embedded.environ(LOG__LEVEL="warning") | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        [COMMAND, "backfill", "--json", "--rate", "2/s"],
        cwd=embedded.folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        out, _ = process.communicate(timeout=PATIENCE)
        said = os.read(ours, 65536).decode()
    finally:
        process.kill()
        os.close(ours)
    assert process.returncode == 0 and b'"complete": true' in out
    assert re.search(r"backfill \[#*-*\] \d of 8 studies", said)
    assert said.rstrip().splitlines()[-1].split("\r")[-1].startswith("dicomcast: all 8 studies are settled")
