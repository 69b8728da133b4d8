"""`map` on many files: a bar on a terminal that is gone in the end, and no bar anywhere else."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness import dataset
from tests.servers.embedded import COMMAND, PATIENCE, Embedded

BAR = re.compile(r"reading .*\d+/\d+")
# What moves the cursor, hides it, or shows it again; all else is a character.
TOKENS = re.compile(r"\r|\n|\x1b\[1A|\x1b\[2K|\x1b\[\?25[lh]|\x1b\[K|.", re.DOTALL)


def on_terminal(embedded: Embedded, *arguments: str) -> tuple[str, str]:
    """Run `map` with a terminal for stderr, and return stdout and all that the terminal got."""
    ours, theirs = pty.openpty()
    environ = embedded.environ() | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [COMMAND, "map", *arguments],
        cwd=embedded.folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        return out.decode(), _drained(ours)
    finally:
        process.kill()
        os.close(ours)


def _drained(terminal: int) -> str:
    """What was written: the buffer holds some thousand bytes, and its end is an error on Linux."""
    said = b""
    try:
        while more := os.read(terminal, 65536):
            said += more
    except OSError:
        return said.decode()
    return said.decode()


def screen(said: str) -> list[str]:
    """The lines that a reader sees in the end."""
    lines: list[list[str]] = [[]]
    row = column = 0
    for token in TOKENS.findall(said):
        match token:
            case "\r":
                column = 0
            case "\n":
                row += 1
                lines += [[]] * (row == len(lines))
            case "\x1b[1A":
                row -= 1
            case "\x1b[2K" | "\x1b[K":
                lines[row] = lines[row][:column] if token == "\x1b[K" else []
            case str() if len(token) == 1:
                lines[row] = [*lines[row], *" " * (column - len(lines[row]))]
                lines[row][column : column + 1] = [token]
                column += 1
    return ["".join(line).rstrip() for line in lines if line]


@pytest.fixture
def folder(embedded: Embedded) -> Path:
    """Some files, one of which is odd."""
    folder = embedded.folder / "scans"
    folder.mkdir()
    for number in range(1, 13):
        date = "the day before" if number == 7 else "20240102"
        one = dataset("1.2.3", "1.2.3.1", f"1.2.3.1.{number}", StudyDate=date)
        (folder / f"{number:02}.json").write_text(json.dumps(one))
    return folder


def test_a_bar_on_a_terminal(embedded: Embedded, folder: Path) -> None:
    """It counts the files, and is wiped before the issues are told; stdout is the Bundle alone."""
    out, said = on_terminal(embedded, "--issues", str(folder))
    assert json.loads(out)["resourceType"] == "Bundle"
    assert "12/12" in said and BAR.search(said)
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")
    assert screen(said) == ["scans/07.json: warning: 00080020 not-a-date".replace("scans", str(folder))]


def test_no_bar_for_one_file(embedded: Embedded, folder: Path) -> None:
    """It would be gone before anybody saw it."""
    _, said = on_terminal(embedded, str(folder / "01.json"))
    assert said == ""


def test_no_bar_elsewhere(embedded: Embedded, folder: Path) -> None:
    """A file, or a log, gets the issues and nothing else."""
    ended = embedded.run("map", "--issues", folder, code=0)
    assert ended.err.splitlines() == [f"{folder}/07.json: warning: 00080020 not-a-date"]
