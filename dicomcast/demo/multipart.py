"""multipart/related bodies as STOW-RS posts them (RFC 2387, PS3.18 section 8.6.1.2)."""

from __future__ import annotations

from email.message import Message

_END_OF_HEADERS = b"\r\n\r\n"


def parameter(content_type: str, name: str) -> str:
    """A parameter of a Content-Type header, unquoted; "" when it is absent."""
    return str(_message(content_type).get_param(name, ""))


def media_type(content_type: str) -> str:
    """The Content-Type header without its parameters, in lower case; "" when it is absent or malformed."""
    return _message(content_type).get_content_type() if content_type else ""


def parts(body: bytes, boundary: str) -> list[tuple[str, bytes]]:
    """The Content-Type and payload of each part; ValueError when the body does not end as it should."""
    delimiter = b"\r\n--" + boundary.encode()
    _preamble, *sections = (b"\r\n" + body).split(delimiter)
    if not sections or not sections[-1].startswith(b"--"):
        raise ValueError("the closing delimiter is missing")
    return [_part(section) for section in sections[:-1]]


def _part(section: bytes) -> tuple[str, bytes]:
    head, blank_line, payload = section.partition(_END_OF_HEADERS)
    if not blank_line:
        raise ValueError("a part has no end of headers")
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-type":
            return media_type(value.strip()), payload
    return "", payload


def _message(content_type: str) -> Message:
    message = Message()
    message["Content-Type"] = content_type
    return message
