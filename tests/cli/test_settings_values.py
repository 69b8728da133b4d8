"""Every rule on values, and errors that say what to write instead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.given_settings import load, problem, problems


def test_missing_are_listed_together() -> None:
    """With nothing set, all that is required is named and described at once."""
    assert problems({}) == [
        "DICOMCAST_DICOM__URL is not set: the base URL of the archive, e.g. https://clinic.dicom.example.com: "
        "of a DICOM service without its version, of Orthanc its root, of any other what stands before /studies",
        "DICOMCAST_FHIR__URL is not set: the base URL of the FHIR server, e.g. https://server.example.com/fhir",
        "DICOMCAST_PATIENT__SYSTEM is not set: the system (absolute URI) of PatientID where no issuer says otherwise, "
        "e.g. https://hospital.example.com/mrn",
    ]


@pytest.mark.parametrize("url", ["https://host.example/a", "http://127.0.0.1:8080", "http://[::1]:80/a/b"])
def test_url(url: str) -> None:
    """URLs are kept as written, but for slashes at their end."""
    settings = load(DICOM__URL=url, DICOM__PUBLIC_URL=url + "//", FHIR__URL=url + "/")
    assert (settings.dicom.url, settings.dicom.public_url, settings.fhir.url) == (url, url, url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "write an http or https URL"),
        ("sesame.example", "write an http or https URL"),
        ("ftp://sesame.example", "write an http or https URL"),
        ("https://", "write an http or https URL"),
        ("https://[sesame", "write an http or https URL"),
        ("https://host.example:sesame", "write an http or https URL"),
        ("https://host.example:99999", "write an http or https URL"),
        ("https://user:sesame@host.example", "take user name and password out"),
        ("https://sesame@host.example", "take user name and password out"),
        ("https://host.example/?code=sesame", "take the query"),
        ("https://host.example/?", "take the query"),
        ("https://host.example/#sesame", "take the query"),
        ("https://host.example/ses ame", "take the blanks"),
        ("https://host.example/\nsesame", "take the blanks"),
    ],
)
def test_url_refused(url: str, said: str) -> None:
    """What is no plain base URL is refused with what to do about it, and credentials are not repeated."""
    line = problem(FHIR__URL=url)
    assert line.startswith(f"DICOMCAST_FHIR__URL: {said}")
    assert "sesame" not in line


@pytest.mark.parametrize("system", ["", " ", "mrn", "urn:", "urn:uuid:1", "https://a.example/mrn|x", "1a:b"])
def test_patient_system_refused(system: str) -> None:
    """A system that is no absolute URI is refused, and the reason given: equal PatientIDs would collide."""
    line = problem(PATIENT__SYSTEM=system)
    assert line.startswith("DICOMCAST_PATIENT__SYSTEM: write an absolute URI")
    assert "would be one patient" in line


@pytest.mark.parametrize("system", ["urn:oid:1.2.03", "urn:oid:1 2", "urn:oid:1", "urn:oid:3.1", "urn:oid:1.2.x"])
def test_patient_system_that_is_no_oid_is_refused(system: str) -> None:
    """What stands behind urn:oid: has to be an OID, or a FHIR server refuses every Patient."""
    assert problem(PATIENT__SYSTEM=system).startswith("DICOMCAST_PATIENT__SYSTEM: write an OID behind urn:oid:")


def test_issuers() -> None:
    """Issuers are JSON in the environment, and their systems are held to the rule of all systems."""
    assert load(PATIENT__ISSUERS='{"A": "urn:oid:1.2.4"}').patient.issuers == {"A": "urn:oid:1.2.4"}
    assert problem(PATIENT__ISSUERS='{"sesame": "no"}').startswith("DICOMCAST_PATIENT__ISSUERS: write an absolute")
    assert problem(PATIENT__ISSUERS="{sesame").startswith("DICOMCAST_PATIENT__ISSUERS: write JSON, such as")
    assert problem(PATIENT__ISSUERS='["sesame"]') == "DICOMCAST_PATIENT__ISSUERS: write JSON (in TOML, a table)"
    assert problem(PATIENT__ISSUERS="[" * 100_000).startswith("DICOMCAST_PATIENT__ISSUERS: write JSON")


@pytest.mark.parametrize(
    ("start", "read"),
    [
        ("beginning", "beginning"),
        ("Latest", "latest"),
        ("0", 0),
        ("12345678901", 12_345_678_901),
        ("2025-01-31T00:00:00Z", datetime(2025, 1, 31, tzinfo=UTC)),
        ("2025-01-31T01:00:00+01:00", datetime(2025, 1, 31, tzinfo=UTC)),
    ],
)
def test_start(start: str, read: object) -> None:
    """A start is a word, a sequence or an instant, and of the type that says which."""
    found = load(WORKER__START=start).worker.start
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("", "write beginning, latest"),
        ("-1", "write beginning, latest"),
        ("end", "write beginning, latest"),
        ("9" * 5000, "write beginning, latest"),
        ("2025-01-31T00:00:00", "say which zone"),
        ("2025-01-31", "say which zone"),
    ],
)
def test_start_refused(start: str, said: str) -> None:
    """A start that is none of these is refused, and so is a time that could be any of 26 hours."""
    assert problem(WORKER__START=start).startswith(f"DICOMCAST_WORKER__START: {said}")


def test_negative_start_in_toml(tmp_path: Path) -> None:
    """A negative sequence is no time before 1970, which pydantic would make of it."""
    (tmp_path / "config").write_text("worker.start = -1")
    assert "not negative" in problem(CONFIG=str(tmp_path / "config"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DICOM__KIND", "pacs", "write azure, orthanc, dicomweb"),
        ("DICOM__API_VERSION", "v3", "write auto, v1, v2"),
        ("DICOM__SAFETY_LAG", "61m", "write a duration, such as 30s or 1h30m, from 0s to 1h"),
        ("DICOM__TIMEOUT", "0s", "write a duration, such as 30s or 1h30m, from 1s to 1h"),
        ("WORKER__POLL_INTERVAL", "30", "a number needs a unit: write 30s for thirty seconds"),
        ("WORKER__RETRY_BUDGET", "soon", "write a duration such as 30s, 4m, 1h30m or PT30S"),
        ("PATIENT__MODE", "delete", "write link, create, own, update"),
        ("PATIENT__MISSING_ID", "invent", "write skip, surrogate, unknown"),
        ("PATIENT__UNKNOWN", "", "write a text, such as UNKNOWN"),
        ("PATIENT__UNKNOWN", "who\tknows", "write a text, such as UNKNOWN"),
        ("MAPPING__STRICT", "perhaps", "write true or false"),
        ("MAPPING__INSTANCES", "some", "write full, counts, or how many instances of a study may be listed"),
        ("MAPPING__INSTANCES", "0", "write full, counts, or how many instances of a study may be listed"),
        ("MAPPING__TIMEZONE", "Mars/Olympus", "write the name of an IANA time zone, such as Europe/Berlin"),
        ("MAPPING__TIMEZONE", "../etc/passwd", "write the name of an IANA time zone, such as Europe/Berlin"),
        ("MAPPING__TIMEZONE", "", "write the name of an IANA time zone, such as Europe/Berlin"),
        ("STATE__URL", "redis://cache", "write sqlite:///FILE or azure-tables://ACCOUNT"),
        ("STATE__URL", "sqlite:///", "write sqlite:///FILE or azure-tables://ACCOUNT"),
        ("WORKER__CONCURRENCY", "0", "write a whole number, from 1 to 64"),
        ("WORKER__CONCURRENCY", "65", "write a whole number, from 1 to 64"),
        ("WORKER__WINDOW", "10001", "write a whole number, from 1 to 10000"),
        ("WORKER__WINDOW", "many", "write a whole number, from 1 to 10000"),
        ("HEALTH__PORT", "0", "write a whole number, from 1 to 65535"),
        ("HEALTH__PORT", "65536", "write a whole number, from 1 to 65535"),
        ("HEALTH__PORT", "http", "write a whole number, from 1 to 65535"),
        ("LOG__LEVEL", "loud", "write debug, info, warning, error"),
        ("LOG__FORMAT", "xml", "write auto, json, console"),
    ],
)
def test_value_refused(name: str, value: str, said: str) -> None:
    """A value that does not fit is refused with what to write instead."""
    assert problem(**{name: value}) == f"DICOMCAST_{name}: {said}"


def test_shared_patient_has_to_be_named() -> None:
    """PATIENT__MISSING_ID=unknown is refused without the identifier of that Patient, and read with it."""
    said = "with DICOMCAST_PATIENT__MISSING_ID=unknown, write the identifier of the Patient to be shared"
    assert problem(PATIENT__MISSING_ID="unknown") == f"DICOMCAST_PATIENT__UNKNOWN: {said}"
    assert load(PATIENT__MISSING_ID="unknown", PATIENT__UNKNOWN="nobody at all").patient.unknown == "nobody at all"


def test_values_accepted() -> None:
    """Values at the edge of what is allowed are read, and a log level in any case."""
    settings = load(DICOM__SAFETY_LAG="0s", WORKER__CONCURRENCY="64", LOG__LEVEL="INFO", MAPPING__TIMEZONE="Asia/Tokyo")
    assert (settings.dicom.safety_lag, settings.worker.concurrency) == (timedelta(0), 64)
    assert (settings.log.level, settings.mapping.timezone) == ("info", "Asia/Tokyo")


def test_origin_of_a_bad_value(tmp_path: Path) -> None:
    """A bad value that is not in the environment is reported with the file it is in."""
    config = tmp_path / "dicomcast.toml"
    config.write_text('log.level = "loud"')
    assert problem(CONFIG=str(config)).endswith(f"write debug, info, warning, error (in config {config})")
