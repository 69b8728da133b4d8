"""JSON objects out of a text that comes in pieces, one after another: a text of 100 MB is never held whole."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Callable
from typing import Any

from dicomcast.json_text import parse_json

__all__ = ["Objects"]

# Possessive all of them, so that the end of a piece costs no second look. Up to the next brace outside of strings:
_PLAIN = rb'[^"{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TO_A_BRACE = re.compile(rb"(?:%b)*+[{}]" % _PLAIN, re.DOTALL)
# … and the same inside of an object, over the objects in it that nest no deeper than elements mostly do.
_FLAT = rb"\{(?:%b)*+\}" % _PLAIN
_NESTED = rb"\{(?:%b|%b)*+\}" % (_PLAIN, _FLAT)
_TO_ITS_END = re.compile(rb"(?:%b|%b)*+[{}]" % (_PLAIN, _NESTED), re.DOTALL)
_BETWEEN = b" \t\r\n,"
_LEFT_BRACE = ord("{")
# A text that is no longer than this is parsed at once, which is faster than to look for its braces.
_SHORT = 2**19


class Objects:
    """Hands the objects of an array, or one that stands alone, to `take`; or with `named` the members of an object."""

    def __init__(self, take: Callable[[dict[str, Any]], object], *, named: bool = False) -> None:
        self._take = take
        self._level = int(named)
        self._text = b""
        self._depth = 0
        self._scanned = 0  # so far braces were looked for in the text,
        self._start = -1  # … here the object in hand begins, if there is one,
        self._outside = b""  # … and this stood beside all objects.
        self._long = False

    def feed(self, piece: bytes) -> None:
        """Go on with the next piece.

        Raises:
            ValueError: what stands in braces is no object of JSON.
        """
        self._text += piece
        if not self._long:
            if len(self._text) <= _SHORT:
                return
            self._long, self._text = True, self._text.removeprefix(BOM_UTF8)
        done = 0
        while match := (_TO_A_BRACE if self._start < 0 else _TO_ITS_END).match(self._text, self._scanned):
            self._scanned = match.end()
            opens = self._text[self._scanned - 1] == _LEFT_BRACE
            self._depth -= not opens
            if self._depth == self._level:
                if opens:
                    self._start = self._scanned - 1
                    self._note(self._text[done : self._start])
                else:
                    self._take(parse_json(self._text[self._start : self._scanned]))
                    self._start, done = -1, self._scanned
            elif self._depth < self._level:
                self._outside += self._text[done : self._scanned].strip(_BETWEEN)
                done = self._scanned
            self._depth += opens
        keep = self._start if self._start >= 0 else done
        self._text, self._scanned = self._text[keep:], self._scanned - keep
        self._start = min(self._start, 0)

    def _note(self, between: bytes) -> None:
        """What stands in front of an object: its name, or nothing but a comma and the bracket of the array."""
        if not self._level:
            self._outside += between.strip(_BETWEEN)

    def close(self) -> None:
        """Hand over what is left, and see that the text was whole.

        Raises:
            ValueError: it was not, or there was something else beside the objects.
        """
        if not self._long:
            for one in self._parsed():
                self._take(one)
            return
        outside = self._outside + self._text.strip(_BETWEEN)
        if self._depth or outside not in ((b"{}",) if self._level else (b"", b"[]")):
            raise ValueError("this is not made of objects")

    def _parsed(self) -> list[dict[str, Any]]:
        value = parse_json(self._text) if self._text or self._level else []
        if self._level:
            value = [one for one in value.values() if isinstance(one, dict)] if isinstance(value, dict) else None
        value = [value] if isinstance(value, dict) else value
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise ValueError("this is not made of objects")
        return value
