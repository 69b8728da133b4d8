"""The mapping by example (tests/golden), and its table (dicomcast/mapping/table.py): each says what the other does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.rows import Facts, Row, Table
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.table import MAPPED, TABLES, select
from dicomcast.mapping.tags import tag
from dicomcast.model import Extra, Metadata, MissingId
from tests.golden_files import CASES, GOLDEN, mapped, mapped_r5, rules_of, written
from tests.judge import R4, R4B, R5, problems

# How instances name themselves: these come from the feed, whatever stands in the metadata.
UIDS = {tag(f"{level}InstanceUID") for level in ("Study", "Series", "SOP")}
# Asked for only where a code is of a private scheme.
PRIVATE = {tag("CodingSchemeIdentificationSequence")}
ROWS = [row for table in TABLES for row in table.rows]
MADE = [row for row in ROWS if row.build is not None]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("order", [1, -1], ids=["as-listed", "backwards"])
def test_golden(name: str, order: int) -> None:
    """Metadata become exactly this Bundle, in whatever order they come, with exactly these issues."""
    now = mapped(CASES[name], order)
    assert now["bundle"] == CASES[name]["bundle"]
    assert now["issues"] == CASES[name]["issues"]


@pytest.mark.parametrize("name", CASES)
def test_golden_in_r5(name: str) -> None:
    """What an R5 server gets is exactly the Bundle in tests/golden/r5, and valid there."""
    text = (GOLDEN / "r5" / f"{name}.json").read_text("utf-8")
    assert text == mapped_r5(CASES[name])
    assert problems(json.loads(text), R5) == []


@pytest.mark.parametrize("name", CASES)
def test_golden_is_valid_and_readable(name: str) -> None:
    """The Bundle is valid R4 and R4B; the file is as `python -m tests.golden_files` writes it, and says what for."""
    assert problems(CASES[name]["bundle"], R4) == []
    assert problems(CASES[name]["bundle"], R4B) == []
    assert (GOLDEN / f"{name}.json").read_text("utf-8") == written(CASES[name]) + "\n"
    assert list(CASES[name]) == ["description", "settings", "metadata", "bundle", "issues"]
    assert CASES[name]["description"].endswith(".")


def _objects(path: str) -> Iterator[dict[str, Any]]:
    """All objects of a table in the golden Bundles."""
    kind, *levels = path.split(".")
    for case in CASES.values():
        found = [entry["resource"] for entry in case["bundle"]["entry"] if entry["resource"]["resourceType"] == kind]
        for level in levels:
            found = [inner for one in found for inner in one[level]]
        yield from found


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.path)
def test_golden_files_hold_what_the_table_has(table: Any) -> None:
    """Each element of the table is in a golden file, and none is there that the table has not."""
    marks: set[str] = set()
    for one in _objects(table.path):
        marks |= one.keys() - {"resourceType", "id", "series", "instance", "extension", "meta"}
        marks |= {extension["url"] for extension in one.get("extension", [])}
        marks |= {f"meta.{name}" for name in one.get("meta", {})}
    assert marks == {row.mark for row in table.rows}


class Watched(dict[str, Any]):
    """Metadata that note which of their attributes are asked for."""

    def __init__(self, metadata: Metadata) -> None:
        super().__init__(metadata)
        self.asked: set[str] = set()

    def get(self, tag: str, default: Any = None) -> Any:
        """As ever, but noted."""
        self.asked.add(tag)
        return super().get(tag, default)


def _builds(row: Row) -> Iterator[tuple[Watched, Any]]:
    """What a row makes of each golden instance, where the case asks for it."""
    for case in CASES.values():
        rules = rules_of(case)
        for metadata in case["metadata"]:
            watched = Watched(select(metadata))
            dataset = Dataset(watched)
            study = Dataset(metadata).text(tag("StudyInstanceUID"))
            if row.build is not None and (row.extra is None or row.extra in rules.extras):
                yield watched, row.build(Facts(dataset, rules, study, images=[dataset]))


@pytest.mark.parametrize("row", MADE, ids=lambda row: f"{row.path}.{row.element}")
def test_table_names_the_attributes_that_are_read(row: Row) -> None:
    """A row asks for the attributes that it names, and for no others."""
    asked = {one for watched, _ in _builds(row) for one in watched.asked}
    named = {tag(keyword) for keyword in row.attributes}
    assert asked <= named
    assert named - asked <= UIDS | PRIVATE


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.path)
@pytest.mark.parametrize("missing_id", MissingId)
def test_a_row_that_is_not_always_asked_has_nothing_to_say_without_its_attributes(
    table: Table, missing_id: MissingId
) -> None:
    """Asked or not, an empty dataset gives the same elements and the same issues."""
    rules = Rules("urn:oid:1.2", missing_id=missing_id, unknown="nobody", compat=True, extras=frozenset(Extra))
    asked, passed_over = Dataset({}), Dataset({})
    made = [(row.name, row.build(Facts(asked, rules, "1.2.3"))) for row in table.rows if row.build is not None]
    told = table.elements(Facts(passed_over, rules, "1.2.3"))
    assert {name: value for name, value in made if value not in (None, "", [], {})} == told
    assert set(asked.issues) == set(passed_over.issues)


@pytest.mark.parametrize("row", MADE, ids=lambda row: f"{row.path}.{row.element}")
def test_golden_files_hold_what_a_row_makes(row: Row) -> None:
    """Each row, and so each slice of a list, makes something that stands in a golden Bundle."""
    made = [value for _, value in _builds(row) if value not in (None, "", [], {})]
    there = [one[row.name] for one in _objects(row.path) if row.name in one]
    assert any(
        value == element or (isinstance(value, list) and all(item in element for item in value))
        for value in made
        for element in there
    )


def test_rows_say_where_they_come_from() -> None:
    """Each has a rule in words, a clause and, where it is an extra, one that can be asked for; nothing else is read."""
    assert all(row.rule and row.clause for row in ROWS)
    told = " ".join(row.rule for row in ROWS)
    assert [one for one in Extra if f"extra `{one}`" not in told and one not in {row.extra for row in ROWS}] == []
    assert {tag(keyword) for row in ROWS for keyword in row.attributes} == MAPPED
