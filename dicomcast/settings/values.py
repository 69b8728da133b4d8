"""How values of settings are written: one annotated type each, with what a reader is told.

No message repeats the value: it may be a secret that was put in the wrong place.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from dicomcast.durations import parse_duration
from dicomcast.model import Extra
from dicomcast.uris import is_uri

__all__ = [
    "Address",
    "ClientId",
    "ConnectionString",
    "Duration",
    "ExactUrl",
    "Extras",
    "HttpUrl",
    "IdentifierValue",
    "Instances",
    "Issuers",
    "LogLevel",
    "Password",
    "Start",
    "StartAt",
    "StateUrl",
    "TablePrefix",
    "Timeout",
    "Token",
    "Uri",
    "UserName",
    "Words",
    "Written",
    "Zone",
    "between",
]


@dataclass(frozen=True, slots=True)
class Written:
    """How a value is written, for the reference page and for "write …" in errors."""

    how: str


def _http_url(text: str) -> str:
    if re.search(r"[\s\x00-\x1f\\]", text):
        raise ValueError("take the blanks, line ends and backslashes out of the URL")
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("write an http or https URL with a host, such as https://server.example/path")
    if "@" in url.netloc:
        raise ValueError("take user name and password out of the URL and set them with AUTH__KIND=basic")
    if "?" in text or "#" in text:
        raise ValueError("take the query (?…) and the fragment (#…) out of the URL")
    return text


def _absolute_uri(text: str) -> str:
    if is_uri(text):
        return text
    if text.startswith("urn:oid:"):
        raise ValueError("write an OID behind urn:oid:, such as urn:oid:1.2.3: numbers without leading zeros and dots")
    raise ValueError(
        "write an absolute URI, such as urn:oid:1.2.3 or https://hospital.example/mrn: "
        "without it, equal PatientIDs of two hospitals would be one patient"
    )


def _issuers(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('write JSON, such as {"HOSPITAL-A": "urn:oid:1.2.3"}') from None


def _extras(value: object) -> object:
    names = value.replace(",", " ").split() if isinstance(value, str) else value
    known = list(Extra)
    if not isinstance(names, list | tuple) or not all(name in known for name in names):
        raise ValueError(f"write some of {', '.join(known)}")
    return tuple(names)


def _instances(value: object) -> object:
    """Read `MAPPING__INSTANCES`; TOML brings a number as such."""
    text = str(value).strip().lower()
    if text in ("full", "counts"):
        return text
    if isinstance(value, bool) or not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise ValueError("write full, counts, or how many instances of a study may be listed")
    return int(text)


def _zone(name: str) -> str:
    from zoneinfo import (
        ZoneInfo,
    )  # here, since most installations set no zone and import time is paid each minute

    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        raise ValueError("write the name of an IANA time zone, such as Europe/Berlin") from None
    return name


def _state_url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if scheme == "sqlite" and rest.removeprefix("/") and rest.startswith("/"):
        return text
    # An account, or where it answers; nothing with a connection string, which says it too.
    if separator and scheme == "azure-tables" and re.fullmatch(r"([0-9A-Za-z.-]+(:\d+)?(/[0-9A-Za-z]+)?)?", rest):
        return text
    raise ValueError("write sqlite:///FILE or azure-tables://ACCOUNT")


def _connection_string(secret: SecretStr) -> SecretStr:
    parts = [part.partition("=") for part in secret.get_secret_value().strip().rstrip(";").split(";")]
    given = {name.strip().lower(): value for name, _, value in parts if value}
    account = given.keys() >= {"accountname", "accountkey"}
    signed = "sharedaccesssignature" in given and given.keys() & {"accountname", "tableendpoint"}
    if len(given) != len(parts) or not (account or signed):
        raise ValueError("write it as the storage account shows it: AccountName=…;AccountKey=…")
    return secret


def _token(secret: SecretStr) -> SecretStr:
    # RFC 6750: what does not fit in an Authorization header is not a token.
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("write the token alone: printable ASCII without blanks or line ends")
    return secret


def _duration(value: object) -> object:
    return parse_duration(str(value)) if isinstance(value, str | int | float) else value


def _start(value: object) -> object:
    """Read `WORKER__START`: a word, a sequence or a time; TOML brings integers and times as such."""
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in ("beginning", "latest"):
            return text.lower()
        if re.fullmatch(r"[0-9]{1,18}", text):
            return int(text)
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("write beginning, latest, a sequence, or a time with its zone") from None
    if isinstance(value, int) and value < 0:
        raise ValueError("write a sequence that is not negative")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("say which zone the time is in, such as 2025-01-31T00:00:00Z")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def between(shortest: str, longest: str) -> Any:  # as pydantic types its Field: a note inside Annotated
    """Bound a Duration."""
    return Field(ge=parse_duration(shortest), le=parse_duration(longest))


Address = Annotated[str, Field(pattern=r"^[0-9A-Za-z.:-]+$"), Written("an IP address or a host name")]
ExactUrl = Annotated[str, AfterValidator(_http_url), Written("an http or https URL")]
HttpUrl = Annotated[ExactUrl, AfterValidator(lambda url: url.rstrip("/"))]
Uri = Annotated[str, AfterValidator(_absolute_uri), Written("an absolute URI")]
IdentifierValue = Annotated[
    str, Field(pattern=r"^[^\s\x00-\x1f]+( [^\s\x00-\x1f]+)*$"), Written("a text, such as `UNKNOWN`")
]
Issuers = Annotated[dict[str, Uri], NoDecode, BeforeValidator(_issuers), Written("JSON (in TOML, a table)")]
Extras = Annotated[
    tuple[Extra, ...],
    NoDecode,
    BeforeValidator(_extras),
    Written("some of " + ", ".join(f"`{one}`" for one in Extra) + " (in TOML, an array)"),
]
Instances = Annotated[
    Literal["full", "counts"] | int, BeforeValidator(_instances), Written("`full`, `counts`, or a number from 1")
]
Zone = Annotated[str, AfterValidator(_zone), Written("an IANA time zone, such as `Europe/Berlin`")]
StateUrl = Annotated[
    str,
    AfterValidator(_state_url),
    Written("`sqlite:///FILE` or `azure-tables://ACCOUNT` (or the host of its endpoint)"),
]
ConnectionString = Annotated[SecretStr, AfterValidator(_connection_string), Written("a secret")]
TablePrefix = Annotated[
    str, Field(pattern=r"^([A-Za-z][0-9A-Za-z]{0,39})?$"), Written("letters and digits, a letter first, at most 40")
]
Duration = Annotated[timedelta, BeforeValidator(_duration), Written("a duration, such as `30s` or `1h30m`")]
Timeout = Annotated[Duration, between("1s", "1h")]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
ClientId = Annotated[str, Field(pattern=r"^[!-~]+$"), Written("a name without blanks")]
Words = Annotated[str, Field(pattern=r"^[!-~]+( [!-~]+)*$"), Written("a text without blanks at its ends")]
UserName = Annotated[str, Field(pattern=r"^[^:\x00-\x1f]+$"), Written("a name without a colon")]  # RFC 7617
Password = Annotated[SecretStr, Field(min_length=1), Written("a secret")]
Token = Annotated[SecretStr, AfterValidator(_token), Written("a secret")]

# Where a first run starts; `match` on it: a word, a sequence, or an aware time.
Start = Literal["beginning", "latest"] | int | datetime
StartAt = Annotated[
    Start,
    BeforeValidator(_start),
    Written("`beginning`, `latest`, a sequence, or an ISO 8601 time with its zone"),
]
