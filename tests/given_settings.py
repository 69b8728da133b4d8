"""Loading settings from variables that a test gives, and what is said of those that cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomcast.errors import ConfigError
from dicomcast.settings import Settings, load_settings

__all__ = ["REQUIRED", "load", "problem", "problems"]

REQUIRED = {
    "DICOMCAST_DICOM__URL": "https://dicom.example.com/",
    "DICOMCAST_FHIR__URL": "https://fhir.example.com/r4",
    "DICOMCAST_PATIENT__SYSTEM": "urn:oid:1.2.3",
}


def load(**variables: str) -> Settings:
    """Load the required settings and these, whose names lack the prefix."""
    return load_settings(REQUIRED | {f"DICOMCAST_{name}": value for name, value in variables.items()})


def problems(environ: dict[str, str], **options: Path) -> list[str]:
    """Load what cannot be loaded, and return what is said about it, a problem a line."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ, **options)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value).splitlines()


def problem(**variables: str) -> str:
    """Load the required settings and these, and return the one problem there is."""
    [line] = problems(REQUIRED | {f"DICOMCAST_{name}": value for name, value in variables.items()})
    return line
