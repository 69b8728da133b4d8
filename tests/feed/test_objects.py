"""JSON objects out of a text that comes in pieces, short or long: the same objects, and the same texts refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.dicom import objects
from dicomcast.dicom.objects import Objects

texts = st.text(st.sampled_from('ab{}[]"\\,: ü\n'), max_size=6)
values = st.recursive(
    st.one_of(st.none(), st.integers(0, 9), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
members = st.dictionaries(texts, values, max_size=4)


@pytest.fixture(params=[2**19, -1], ids=["short", "long"])
def _length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_SHORT", request.param)


def read(text: bytes, size: int, *, named: bool = False) -> list[Any]:
    """What comes of a text in pieces of a size."""
    found: list[Any] = []
    reading = Objects(found.append, named=named)
    for start in range(0, len(text), size):
        reading.feed(text[start : start + size])
    reading.close()
    return found


@pytest.mark.usefixtures("_length")
@given(told=st.lists(members, max_size=4), size=st.integers(1, 60), ascii_only=st.booleans(), indent=st.booleans())
def test_an_array_of_objects(told: list[Any], size: int, ascii_only: bool, indent: bool) -> None:
    """Wherever it is cut, in a name, in an escape or in a character, and with a byte order mark or without."""
    text = json.dumps(told, ensure_ascii=ascii_only, indent=1 if indent else None).encode()
    assert read(text, size) == told
    assert read(b"\xef\xbb\xbf" + text, max(size, 3)) == told
    for one in told:
        assert read(json.dumps(one).encode(), size) == [one]


@pytest.mark.usefixtures("_length")
@given(told=st.dictionaries(texts, members, max_size=4), size=st.integers(1, 60))
def test_the_members_of_an_object(told: dict[str, Any], size: int) -> None:
    """Each without its name."""
    assert read(json.dumps(told).encode(), size, named=True) == list(told.values())


NO_OBJECTS = [b"<html>", b"null", b"[1]", b'"x"', b"[{}", b"[{},", b"{", b"[{}}]", b"[{}]x", b"[{}]]", b"}{", b"[[{}]]"]
NO_MEMBERS = [b"", b"<html>", b"[]", b"{", b'{"a":{}', b'{"a":{}}}', b'{"a":{}} x', b'[{"a":{}}]', b"null"]


@pytest.mark.usefixtures("_length")
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("text", "named"), [*((one, False) for one in [*NO_OBJECTS, b"[{a}]"]), *((one, True) for one in NO_MEMBERS)]
)
def test_what_is_cut_off_or_something_else_is_refused(text: bytes, named: bool, size: int) -> None:
    """A part of a study would be taken for all of it, and a web page for none."""
    with pytest.raises(ValueError, match=r"."):
        read(text, size, named=named)


@pytest.mark.usefixtures("_length")
def test_an_empty_text_has_no_objects() -> None:
    """As an archive may answer that there is nothing."""
    assert read(b"", 1) == read(b"[]", 1) == []
