"""JSON as peers really write it, and as it goes back: nothing that can be read is given up, no digit is lost."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.http import dump_json, parse_json

TOLERATED: dict[str, tuple[bytes, Any]] = {
    "an object": (b'{"a": [1, 2.5, true, null, "x"]}', {"a": [1, 2.5, True, None, "x"]}),
    "Infinity": (b"[Infinity, -Infinity]", [math.inf, -math.inf]),
    "a lone surrogate": (rb'["\ud800x"]', ["\ud800x"]),
    "a pair of surrogates": (rb'["\ud83d\ude00"]', ["\U0001f600"]),
    "raw control characters": (b'["a\x01\tb\nc\x00"]', ["a\x01\tb\nc\x00"]),
    "a byte order mark": (b'\xef\xbb\xbf["\xc3\xbc"]', ["ü"]),
    "latin-1": (b'["M\xfcller"]', ["Müller"]),
    "latin-1 beside UTF-8": (b'["M\xfcller", "\xe3\x81\x82"]', ["Müller", "あ"]),
    "a double key": (b'{"a": 1, "a": 2}', {"a": 2}),
    "blanks around": (b" \r\n[1]\t\n", [1]),
    "a bare string": ('"あ"'.encode(), "あ"),
}


@pytest.mark.parametrize("name", TOLERATED)
@pytest.mark.parametrize("exact", [False, True])
def test_what_is_nearly_json_is_read(name: str, exact: bool) -> None:
    """What the fast parser refuses is read tolerantly; `exact` differs in numbers alone."""
    content, value = TOLERATED[name]
    assert parse_json(content, exact=exact) == value


def test_nan_is_read() -> None:
    """NaN is in no JSON, and in the answers of real archives."""
    (nan,) = parse_json(b"[NaN]")
    assert math.isnan(nan)


REFUSED = {
    "nothing": b"",
    "blanks": b"  ",
    "HTML": b"<html></html>",
    "truncated": b'{"a": [1, 2',
    "two values": b"[1] [2]",
    "a trailing NUL": b'{"a": 1}\x00',
    "UTF-16": '["a"]'.encode("utf-16"),
    "single quotes": b"{'a': 1}",
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a number without end": b"1" * 5000,
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("exact", [False, True])
def test_what_is_no_json_is_a_value_error(name: str, exact: bool) -> None:
    """Callers need to know one error, whatever came."""
    with pytest.raises(ValueError, match="line 1|too deep|digits"):
        parse_json(REFUSED[name], exact=exact)


def test_an_exponent_beyond_decimal_is_a_value_error() -> None:
    """Exact means exact: a number that no Decimal holds is refused, not rounded."""
    with pytest.raises(ValueError, match="beyond all bounds"):
        parse_json(b"[1e99999999999999999999]", exact=True)


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_value_or_a_value_error(content: bytes, exact: bool) -> None:
    """Reading is total: there is no third way out."""
    try:
        value = parse_json(content, exact=exact)
    except ValueError as error:
        value = error
    assert isinstance(value, ValueError | dict | list | str | int | float | Decimal | None)


@pytest.mark.parametrize("digits", ["0.10", "1.000", "-0.0", "1E+2", "1E+400", "1E-7", "123456789.123456789123456789"])
def test_decimals_keep_their_digits(digits: str) -> None:
    """FHIR R4 datatypes.html#decimal: 0.10 is not 0.1, and what we write back is what we read."""
    content = f'{{"value":{digits}}}'.encode()
    assert str(parse_json(content, exact=True)["value"]) == digits
    assert dump_json(parse_json(content, exact=True)) == content


def test_a_number_beyond_a_float_is_infinite_where_it_need_not_be_exact() -> None:
    """DICOM's IS and DS are judged by the mapping, which has to see that there was something."""
    assert parse_json(b"[1e400]") == [math.inf]


WRITTEN = {
    "a large integer": b"[123456789012345678901234567890]",
    "a lone surrogate": rb'{"a":["\ud800"]}',
    "a lone surrogate beside a decimal": rb'{"a":"x\udfff","b":1.50,"c":"\u00fc"}',
    "a control character": rb'["a\u0001"]',
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_others_wrote_is_written_back(name: str) -> None:
    """Law 4: a resource that we read from a server can be sent back, whatever it holds."""
    value = parse_json(WRITTEN[name], exact=True)
    assert parse_json(dump_json(value), exact=True) == value


def test_a_lone_surrogate_is_written_as_it_was_read() -> None:
    """It has no bytes in UTF-8, only its escape."""
    content = rb'{"name":[{"text":"\ud800"}],"value":1.50}'
    assert dump_json(parse_json(content, exact=True)) == content


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=()))
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_writing_and_reading_is_lossless(value: Any) -> None:
    """Any value that we could have read comes back equal, decimals to the digit, and is JSON to others, too."""
    content = dump_json(value)
    assert repr(_plain(parse_json(content, exact=True))) == repr(_plain(value))
    json.loads(content)


def _plain(value: Any) -> Any:
    """Decimals as text; one without a point is an integer once it was written."""
    match value:
        case Decimal():
            return str(value)
        case int() if not isinstance(value, bool):
            return str(value)
        case list():
            return [_plain(one) for one in value]
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case _:
            return value


def test_what_is_no_json_value_is_not_written() -> None:
    """A value of our own that nobody can read is our defect, and told by its type."""
    with pytest.raises(TypeError):
        dump_json({"a": object()})
