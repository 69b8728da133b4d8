"""The mapping as rows: an element each, with the attributes that it is made of, the clause for it, and its function.

What is read of metadata, what is ours in a resource and the page of documentation all come from the rows, so none of
them can say anything but what is done.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.tags import tag
from dicomcast.mapping.values import JSON
from dicomcast.model import Extra

__all__ = ["Facts", "Row", "Table"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an element is made of: the metadata of the instance that speaks, and what lies beside them.

    `study_uid` is what the feed calls the study; `images` are all instances of the series.
    """

    dataset: Dataset
    rules: Rules
    study_uid: str = ""
    images: Iterable[Dataset] = ()


Build = Callable[[Facts], Any]


@dataclass(frozen=True, slots=True)
class Row:
    """An element, or a slice of one that is a list (`identifier:accession`; of extensions, by their URL).

    `build` is None for what is not mapped from one instance but counted or looked up. `extra` is what a site must ask
    for first. What is `shared` is written by others too, and so never removed. `name` is the member of the JSON object,
    `mark` what tells ours from others' in a resource: the name, or an extension's URL.
    """

    path: str
    element: str
    attributes: tuple[str, ...]
    clause: str
    rule: str
    build: Build | None
    extra: Extra | None
    shared: bool
    always: bool = False
    name: str = field(init=False)
    mark: str = field(init=False)
    tags: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        name, _, part = self.element.partition(":")
        object.__setattr__(self, "tags", tuple(map(tag, self.attributes)))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "mark", part if name == "extension" else name)


class Table:
    """The rows of one kind of object, such as `ImagingStudy.series`, in the order in which its members stand."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.rows: list[Row] = []

    def row(
        self,
        element: str,
        attributes: str,
        clause: str,
        *,
        extra: Extra | None = None,
        shared: bool = False,
        always: bool = False,
    ) -> Callable[[Build], Build]:
        """Add a function as the row of an element; its docstring is the rule."""

        def add(build: Build) -> Build:
            rule = inspect.cleandoc(build.__doc__ or "")
            row = Row(self.path, element, tuple(attributes.split()), clause, rule, build, extra, shared, always)
            self.rows.append(row)
            return build

        return add

    def counted(self, element: str, attributes: str, clause: str, rule: str) -> None:
        """Add the row of an element that no single instance tells."""
        self.rows.append(Row(self.path, element, tuple(attributes.split()), clause, rule, None, None, True))

    def elements(self, facts: Facts) -> JSON:
        """The members that have a value; slices of a list stand behind one another."""
        found: JSON = {}
        for row, build in self._wanted(facts.rules):
            if facts.dataset.lacks(row.tags) and not row.always:
                continue  # as most are
            value = build(facts)
            if value not in (None, "", [], {}):
                found[row.name] = [*found[row.name], *value] if row.name in found else value
        return found

    def owned(self, rules: Rules) -> frozenset[str]:
        """What is ours in an object, by its mark; all else is somebody else's."""
        return frozenset(row.mark for row, _ in self._wanted(rules) if not row.shared)

    def _wanted(self, rules: Rules) -> Iterator[tuple[Row, Build]]:
        for row in self.rows:
            if row.build is not None and (row.extra is None or row.extra in rules.extras):
                yield row, row.build
