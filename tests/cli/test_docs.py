"""What an operator can meet is in the documentation: commands, settings, metrics, exit codes, errors and reasons."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from dicomcast import cli, errors
from dicomcast.metrics import INSTRUMENTS
from dicomcast.settings import Settings
from dicomcast.settings.sources import variables

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(ROOT.glob("docs/**/*.md"))}
ERRORS = PAGES["docs/reference/errors.md"]
SOURCES = [path for path in sorted(ROOT.glob("dicomcast/**/*.py")) if "demo" not in path.relative_to(ROOT).parts]
TREES = [ast.parse(path.read_text("utf-8")) for path in SOURCES]
SLUG = re.compile(r"[a-z]+(-[a-z]+)*")


def commands(command: click.Command, path: str) -> Iterator[str]:
    """Every command by what one types."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}")


def constants(node: ast.AST) -> Iterator[str]:
    """The text in an expression."""
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def reasons() -> set[str]:
    """Every slug that the code gives as a reason: by keyword, by default, or by the one function that takes it."""
    found: set[str] = set()
    for node in (node for tree in TREES for node in ast.walk(tree)):
        given = isinstance(node, ast.keyword) and node.arg == "reason"
        of_a_class = isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == ["reason"]
        if given or of_a_class:
            found.update(constants(node.value))  # type: ignore[attr-defined]
        elif isinstance(node, ast.arguments):
            defaults = zip(node.kwonlyargs, node.kw_defaults, strict=True)
            found.update(*(constants(default) for name, default in defaults if name.arg == "reason" and default))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_unusable":
            found.update(constants(node.args[1]))
    return {text for text in found if SLUG.fullmatch(text)}


def cells(page: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading."""
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


def test_every_command_is_documented() -> None:
    """With its subcommands, by what one types."""
    every = set(commands(typer.main.get_command(cli.app), "dicomcast"))
    assert {"dicomcast run", "dicomcast parked retry"} <= every
    headings = re.findall(r"^## (.+)$", PAGES["docs/reference/cli.md"], re.MULTILINE)
    assert set(headings) == every


def test_every_setting_is_documented() -> None:
    """By its full name, once."""
    page = PAGES["docs/reference/settings.md"]
    names = sorted(variable.name for variable in variables(Settings).values())
    assert sorted(re.findall(r"^\| `(DICOMCAST_\w+)` \|", page, re.MULTILINE)) == names


def test_every_metric_is_documented() -> None:
    """By the name of its instrument."""
    rows = re.findall(r"^\| `(dicomcast\.[\w.]+)` \|", PAGES["docs/reference/metrics.md"], re.MULTILINE)
    assert rows == [name for name, *_ in INSTRUMENTS]


def test_every_exit_code_is_documented() -> None:
    """Those of the errors, those of the commands, and no others."""
    codes = {getattr(errors, name).exit_code for name in errors.__all__}
    for call in (node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("Exit", "exit"):
            codes.update(one.value for one in call.args if isinstance(one, ast.Constant))
    assert codes | {0, click.UsageError.exit_code} == {int(row[0].strip("`")) for row in cells(ERRORS, "Exit codes")}


def test_every_reason_is_documented() -> None:
    """Each slug of a parked row has a row in the table, and the table has no other."""
    table = {slug for row in cells(ERRORS, "Reasons of parked studies") for slug in re.findall(r"`([a-z-]+)`", row[0])}
    elsewhere = {"not-dicom", "unreadable-file", "no-uids"}
    assert all(f"`{slug}`" in ERRORS for slug in elsewhere)
    assert {"multiple-match", "no-usable-answer", "replay-requested", "metadata-mismatch"} <= reasons()
    assert table | elsewhere == reasons()


@pytest.mark.parametrize("row", cells(ERRORS, "What is printed"), ids=lambda row: row[0][:40])
def test_what_is_printed_is_what_the_code_prints(row: list[str]) -> None:
    """A documented error is still in the code, word for word, and has one of the exit codes."""
    assert row[1] in {"75", "77", "78"}
    assert_printed(row[0])


@pytest.mark.parametrize(
    "row",
    [row for page in ("credentials", "tls") for row in cells(PAGES[f"docs/how-to/{page}.md"], "What the errors mean")],
    ids=lambda row: row[0][:40],
)
def test_what_is_printed_about_the_way_to_a_peer(row: list[str]) -> None:
    """The same for the tables of these pages, whose exit codes stand above them."""
    assert_printed(row[0])


@pytest.mark.parametrize(
    "row", cells(PAGES["docs/how-to/state-stores.md"], "What goes wrong"), ids=lambda row: row[0][:60]
)
def test_what_is_printed_about_tables(row: list[str]) -> None:
    """The same for the table of that page."""
    assert row[1] in {"75", "77"}
    assert_printed(row[0])


@pytest.mark.parametrize(
    "row", cells(PAGES["docs/how-to/telemetry.md"], "When nobody takes it"), ids=lambda row: row[0][:40]
)
def test_what_is_printed_about_telemetry(row: list[str]) -> None:
    """The same for the table of that page."""
    assert row[1] == "78"
    assert_printed(row[0])


def assert_printed(shapes: str) -> None:
    """Whether each of the sentences is in the code, but for what `…` stands for."""
    said = [text for tree in TREES for text in constants(tree)]
    for shape in re.findall(r"`([^`]+)`", shapes):
        for words in filter(None, (part.strip(" ():;,") for part in re.split(r"…|\b40[13]\b", shape))):
            assert any(words in text for text in said), f"nothing prints {words!r}"


def test_settings_that_pages_name_exist() -> None:
    """A page that tells to change a setting names one that there is."""
    known = {variable.name.removeprefix("DICOMCAST_") for variable in variables(Settings).values()}
    for name, page in PAGES.items():
        named = set(re.findall(r"`(?:DICOMCAST_)?([A-Z]+__[A-Z_]*[A-Z])\b", page))
        assert {one for one in named if one not in known} == set(), name


def test_links_lead_somewhere() -> None:
    """Between the pages, and from the README."""
    for name, page in (PAGES | {"README.md": (ROOT / "README.md").read_text("utf-8")}).items():
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page):
            assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"
