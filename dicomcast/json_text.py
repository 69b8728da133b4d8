"""JSON as peers write it, and as we do: fast where it can be, tolerant where it has to be."""

from __future__ import annotations

import codecs
import json
from decimal import Decimal
from typing import Any

import orjson

__all__ = ["dump_json", "parse_json"]


def parse_json(content: bytes, *, exact: bool = False) -> Any:
    """Parse JSON; with `exact`, decimals keep their digits (FHIR R4 datatypes.html#decimal).

    What the fast parser refuses (NaN, raw control characters, lone surrogates, other encodings) is
    read tolerantly.

    Raises:
        ValueError: it is not JSON at all.
    """
    if not exact:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            pass
    text = content.decode("utf-8-sig", errors="dicomcast.western")
    try:
        return json.loads(text, strict=False, parse_float=Decimal if exact else None)
    except (RecursionError, ArithmeticError) as error:
        raise ValueError("this JSON is too deep, or has a number beyond all bounds") from error


def _western(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are no UTF-8 as Windows-1252, which most archives that mislabel text mean; the others stay."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", errors="replace"), error.end


codecs.register_error("dicomcast.western", _western)


def dump_json(value: Any) -> bytes:
    """Write JSON; a Decimal as the digits it was read with."""
    try:
        return orjson.dumps(value, default=_decimal)
    except orjson.JSONEncodeError:
        return orjson.dumps(_spelt_out(value), default=_decimal)


def _decimal(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(type(value).__name__)


def _spelt_out(value: Any) -> Any:
    """What the fast writer refuses, as text: a lone surrogate by its escape, an integer of more than 64 bits."""
    match value:
        case dict():
            return {name: _spelt_out(one) for name, one in value.items()}
        case list():
            return [_spelt_out(one) for one in value]
        case str() | int():
            return orjson.Fragment(json.dumps(value))
        case _:
            return value
