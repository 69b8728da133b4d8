"""What DICOM Cast was told, understood as it stands: its variables and secrets, and what of ours each becomes.

Names are .NET's: groups joined by `__` (or `--`, as in a Key Vault, or `:`), in any case. A value of ours wins over one
of these, and where a group is chosen as a whole, as credentials are, anything of ours in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from dicomcast.durations import format_duration

__all__ = ["GROUPS", "ROWS", "Row", "Translation", "is_theirs", "known_name", "translate", "vault_of"]

# The groups of its settings; a variable below one that is not in the table is told about.
GROUPS = (
    "DicomWeb Fhir DicomCastWorker DicomCast RetryConfiguration Patient TableStore KeyVault ApplicationInsights".split()
)
# What is chosen as a whole: what of ours begins so stands against all of theirs.
_WHOLE = re.compile(r"(DICOM__AUTH|FHIR__AUTH|STATE|TELEMETRY)__")
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TIME_SPAN = re.compile(r"(?:(\d{1,5})\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,7}))?)?", re.ASCII)


def _as_it_is(text: str) -> str:
    return text


def _time_span(text: str) -> str:
    """A .NET TimeSpan: [d.]hh:mm[:ss[.fffffff]], or days alone."""
    match = _TIME_SPAN.fullmatch(text)
    if match is None:
        if re.fullmatch(r"\d{1,5}", text, re.ASCII):
            return format_duration(timedelta(days=int(text)))
        raise ValueError("write it as DICOM Cast does, such as 00:01:00, or set ours, such as 1m")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError("it has more hours, minutes or seconds than there are; set ours, such as 90m")
    rest = float(f"0.{match[5] or 0}")
    return format_duration(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds + rest))


def _boolean(text: str) -> str:
    if text.lower() not in ("true", "false"):
        raise ValueError("write true or false")
    return text.lower()


def _account(url: str) -> str:
    match = re.fullmatch(r"https://([0-9A-Za-z.-]+(?::\d+)?(?:/[0-9A-Za-z]+)?)/?", url.strip())
    if match is None:
        raise ValueError("write the endpoint of the tables, such as https://ACCOUNT.table.core.windows.net")
    return f"azure-tables://{match[1]}"


@dataclass(frozen=True, slots=True)
class Row:
    """A setting of theirs and what it becomes: names without our prefix, with a `fixed` value or its own.

    `where` is the AuthenticationType that it belongs to. Where nothing of ours answers to it, `why` tells.
    """

    old: str
    new: tuple[str, ...] = ()
    read: Callable[[str], str] = _as_it_is
    fixed: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    why: str = ""


_MANAGED, _CLIENT = "ManagedIdentity", "OAuth2ClientCredential"
_KINDS = {_MANAGED.lower(): "azure", _CLIENT.lower(): "client-credentials"}
_NO_KIND = (
    "there is no such kind of credentials here; set {ours}KIND, such as client-credentials, with KEY_FILE for a "
    "certificate"
)


def _credentials(old: str, new: str) -> list[Row]:
    auth, ours = f"{old}__Authentication__", f"{new}__AUTH__"
    client = f"{auth}{_CLIENT}__"
    return [
        Row(f"{auth}Enabled", (f"{ours}KIND",), why="`none`, unless it is `true`"),
        Row(
            f"{auth}AuthenticationType",
            (f"{ours}KIND",),
            why="`ManagedIdentity` is `azure`, `OAuth2ClientCredential` is `client-credentials`; others are refused",
        ),
        Row(f"{auth}{_MANAGED}Credential__Resource", (f"{ours}AUDIENCE",), where=_MANAGED),
        Row(f"{client}TokenUri", (f"{ours}TOKEN_URL",), where=_CLIENT),
        Row(f"{client}Resource", (f"{ours}RESOURCE",), where=_CLIENT),
        Row(f"{client}Scope", (f"{ours}SCOPE",), where=_CLIENT),
        Row(f"{client}ClientId", (f"{ours}CLIENT_ID",), where=_CLIENT),
        Row(f"{client}ClientSecret", (f"{ours}CLIENT_SECRET",), fixed={f"{ours}SECRET_IN": "body"}, where=_CLIENT),
    ]


ROWS = (
    Row("DicomWeb__Endpoint", ("DICOM__URL",), why="with a `PrivateEndpoint` it is `DICOM__PUBLIC_URL`"),
    Row("DicomWeb__PrivateEndpoint", ("DICOM__URL",)),
    *_credentials("DicomWeb", "DICOM"),
    Row("Fhir__Endpoint", ("FHIR__URL",)),
    *_credentials("Fhir", "FHIR"),
    Row("DicomCastWorker__PollInterval", ("WORKER__POLL_INTERVAL",), _time_span),
    Row("DicomCastWorker__PollIntervalDuringCatchup", why="there is no pause between windows"),
    Row("DicomCast__Features__EnforceValidationOfTagValues", ("MAPPING__STRICT",), _boolean),
    Row("DicomCast__Features__GenerateObservations", why="radiation dose is not mapped yet"),
    Row("DicomCast__Features__IgnoreJsonParsingErrors", why="what cannot be read always steps aside alone"),
    Row("RetryConfiguration__TotalRetryDuration", why="a server that is away is waited for, and nothing is given up"),
    Row("Patient__PatientSystemId", ("PATIENT__SYSTEM",)),
    Row("Patient__IsIssuerIdUsed", why="name each issuer and its system in `PATIENT__ISSUERS`: an issuer is no URI"),
    Row(
        "TableStore__ConnectionString",
        ("STATE__CONNECTION_STRING",),
        fixed={"STATE__URL": "azure-tables://"},
    ),
    Row("TableStore__EndpointUri", ("STATE__URL",), _account, why="without a connection string"),
    Row("TableStore__ClientId", ("STATE__CLIENT_ID",)),
    Row("TableStore__TableNamePrefix", ("STATE__TABLE_PREFIX",)),
    Row("KeyVault__Endpoint", ("KEYVAULT",), why="its secrets may have the names of this table, with `--`, or ours"),
    Row(
        "ApplicationInsights__InstrumentationKey",
        ("TELEMETRY__CONNECTION_STRING",),
        lambda key: f"InstrumentationKey={key}",
        fixed={"TELEMETRY__EXPORTER": "azure-monitor"},
        why="if it is a GUID",
    ),
)
_BY_NAME = {row.old.lower(): row for row in ROWS}


@dataclass(frozen=True, slots=True)
class Translation:
    """Our variables with a value and the name it had, what is said of each of theirs, and what cannot be understood."""

    given: dict[str, tuple[str, str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def is_theirs(name: str) -> bool:
    """Whether a name is one of DICOM Cast's, or below one of its groups. Ours begin with a group of its: DICOMCAST."""
    group, _, rest = _joined(name).partition("__")
    if group.lower() == "dicomcast":
        return rest.lower().startswith("features__")
    return bool(rest) and group.lower() in {one.lower() for one in GROUPS}


def known_name(name: str) -> str:
    """The name as DICOM Cast has it, whatever case and separator it is written in; "" if it has no such setting."""
    row = _BY_NAME.get(_joined(name).lower())
    return row.old if row else ""


def _joined(name: str) -> str:
    return re.sub("--|:", "__", name)


def vault_of(theirs: Mapping[str, str]) -> str:
    """The address of the Key Vault among their settings, "" if there is none."""
    return next((value.strip() for name, value in theirs.items() if known_name(name) == "KeyVault__Endpoint"), "")


def translate(theirs: Mapping[str, str], ours: Iterable[str] = ()) -> Translation:
    """What their settings become beside `ours`, the names that are given already; no value is in what is said.

    Of the same name in two spellings the last counts.
    """
    values = {name: value.strip() for each, value in theirs.items() if (name := known_name(each))}
    found = Translation()
    taken = {name.upper() for name in ours}
    for row in ROWS if values else ():
        if values.get(row.old):  # an empty one is one that is not set, as in its own appsettings
            _translate(row, values, taken, found)
    unknown = [name for name in theirs if is_theirs(name) and not known_name(name)]
    found.said.extend(f"{name} is no setting of DICOM Cast" for name in unknown if values)
    return found


def _translate(row: Row, values: Mapping[str, str], taken: set[str], found: Translation) -> None:
    try:
        new, value = _becomes(row, values)
    except ValueError as error:
        if not _given_of_ours(row.new, taken):
            found.problems.append(f"{row.old}: {error}")
        return
    if not new:
        found.said.append(f"{row.old} became nothing: {value}")
        return
    made = {**dict.fromkeys(new, value), **row.fixed}
    if _given_of_ours(made, taken):
        found.said.append(f"{row.old} gives way to what is set of ours")
        return
    found.given.update({f"DICOMCAST_{name}": (text, row.old) for name, text in made.items()})
    found.said.append(f"{row.old} became {' and '.join(f'DICOMCAST_{name}' for name in made)}")


def _becomes(row: Row, values: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """The names of ours that a setting becomes, with its value; or no names, and why not.

    Raises:
        ValueError: it cannot be understood.
    """
    value = values[row.old]
    if "__Authentication__" in row.old:
        return _credentials_become(row, values)
    match row.old:
        case "DicomWeb__Endpoint" if values.get("DicomWeb__PrivateEndpoint"):
            return ("DICOM__PUBLIC_URL",), value
        case "TableStore__EndpointUri" if values.get("TableStore__ConnectionString"):
            return (), "the connection string says it too"
        case "ApplicationInsights__InstrumentationKey" if not _GUID.fullmatch(value):
            return (), "it is no GUID"
    return (row.new, row.read(value)) if row.new else ((), row.why.replace("`", ""))


def _credentials_become(row: Row, values: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    group, value = row.old.partition("__Authentication__")[0] + "__Authentication__", values[row.old]
    enabled = _boolean(values.get(f"{group}Enabled") or "false") == "true"
    kind = values.get(f"{group}AuthenticationType", "").lower()
    if row.old.endswith("__Enabled"):
        return ((), "requests go with credentials") if enabled else (row.new, "none")
    if not enabled:
        return (), "requests go without credentials"
    if row.where:
        return (row.new, value) if row.where.lower() == kind else ((), "it is of another AuthenticationType")
    if kind not in _KINDS:
        raise ValueError(_NO_KIND.format(ours=f"DICOMCAST_{row.new[0].removesuffix('KIND')}"))
    return row.new, _KINDS[kind]


def _given_of_ours(made: Iterable[str], taken: set[str]) -> bool:
    """Whether any of these, or anything of the group that is chosen with it, is set of ours."""
    whole = [_WHOLE.match(name) for name in made]
    return any(f"DICOMCAST_{name}" in taken for name in made) or any(
        each.startswith(f"DICOMCAST_{group[0]}") for group in whole if group for each in taken
    )
