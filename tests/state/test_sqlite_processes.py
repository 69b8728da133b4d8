"""The SQLite file under processes that die: what was acknowledged is there, and what was not is not half there."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from dicomcast.model import Checkpoint
from dicomcast.state.sqlite import SqliteStore
from tests.settling import FEED

ROOT = Path(__file__).parents[2]


def process(*arguments: object) -> subprocess.Popen[str]:
    """A process that settles windows."""
    command = [sys.executable, "-m", "tests.settling", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


async def found(path: Path) -> tuple[Checkpoint, list[str]]:
    """The checkpoint, and the studies that are parked."""
    store = SqliteStore(str(path))
    checkpoint, rows = await store.load(FEED), await store.parked(FEED)
    await store.close()
    return checkpoint, [one.key.study_uid for one in rows]


def kill_after(path: Path, windows: int) -> int:
    """Start a process, kill it in the middle of what comes after some windows; the last that it acknowledged."""
    with process(path) as settling:
        assert settling.stdout is not None
        said = [settling.stdout.readline() for _ in range(windows)]
        settling.kill()
        said += settling.stdout.readlines()
    return int(said[-1])


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    """Killed ten times in the middle of a write, the cursor is never behind what was said, and rows go with it."""
    path = tmp_path / "state.db"
    dice = random.Random(4711)
    for _ in range(10):
        acknowledged = kill_after(path, dice.randint(1, 30))
        checkpoint, studies = asyncio.run(found(path))
        assert checkpoint.cursor is not None
        assert acknowledged <= checkpoint.revision == checkpoint.cursor.sequence
        assert studies == [str(checkpoint.revision)]


def test_a_disk_that_runs_full(tmp_path: Path) -> None:
    """The process says so and ends, the cursor is the last acknowledged, and with room it goes on from there."""
    path = tmp_path / "state.db"
    with process(path, 150_000, 5_000) as settling:
        said, complaint = settling.communicate(timeout=60)
    acknowledged = int(said.split()[-1])
    assert "no room left" in complaint or "the disk is full" in complaint
    assert "the cursor stays where it was" in complaint and "Traceback" not in complaint
    checkpoint, studies = asyncio.run(found(path))
    assert (checkpoint.revision, studies) == (acknowledged, [str(acknowledged)])
    kill_after(path, 3)
    assert asyncio.run(found(path))[0].revision >= acknowledged + 3
