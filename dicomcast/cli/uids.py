"""A StudyInstanceUID on the command line: what has not its form may be a patient, and goes no further."""

from __future__ import annotations

import re

import typer

__all__ = ["study_uid"]

# PS3.5 §9.1, but for leading zeros, which some devices write. One number alone is no UID, and may be a record number.
_FORM = re.compile(r"[0-9]+(\.[0-9]+)+")
_LONGEST = 64


def study_uid(text: str) -> str:
    """A UID as it was typed.

    Raises:
        BadParameter: it has not the form; the text is not repeated, and neither sent, logged nor stored.
    """
    if len(text) > _LONGEST or not _FORM.fullmatch(text):
        raise typer.BadParameter("write a StudyInstanceUID: numbers joined by dots, at most 64 characters")
    return text
