"""What a refusal of an archive means: at the first meeting a wrong setting, later something that passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dicomcast.errors import NotItself, Rejected, Retriable, Stranger

__all__ = ["met", "refusals_waited_for"]


@contextmanager
def met(base_url: str, what: str) -> Iterator[None]:
    """The first meeting: who refuses, or answers something else, is not what DICOM__URL should be; `what` says so.

    Raises:
        Stranger: that.
    """
    try:
        yield
    except (Rejected, NotItself) as error:
        raise Stranger(f"DICOM__URL: {base_url} {what} ({error})") from None


@contextmanager
def refusals_waited_for() -> Iterator[None]:
    """Once a feed is open nothing that we ask is wrong: it is being changed, or something stands in between."""
    try:
        yield
    except Rejected as error:
        raise Retriable(f"the archive cannot be read at present ({error})", peer="dicom") from None
