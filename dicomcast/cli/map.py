"""`map`: what would come of these files? No server, no settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import orjson
import typer

from dicomcast.app import rules
from dicomcast.dicom import files
from dicomcast.errors import Rejected
from dicomcast.model import Instance
from dicomcast.offline import bundle_of
from dicomcast.settings import load_offline_settings
from dicomcast.versions import VERSIONS

__all__ = ["map_files"]


def map_files(
    paths: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="DICOM files, folders, DICOM JSON, or - for stdin.")
    ],
    pretty: Annotated[bool, typer.Option("--pretty", help="Indent the JSON.")] = False,
    fhir_version: Annotated[
        Literal["4.0", "4.3", "5.0"], typer.Option("--fhir-version", help="The version of FHIR: R4, R4B or R5.")
    ] = "4.0",
    issues: Annotated[bool, typer.Option("--issues", help="Tell on stderr what is odd in the data.")] = False,
) -> None:
    """Map DICOM files to a FHIR transaction Bundle on stdout, offline.

    Example: dicomcast map --pretty scan.dcm
    """
    settings = load_offline_settings()
    unread: list[str] = []
    mapping = rules(settings.patient, settings.mapping)
    bundle, found = bundle_of(_instances(paths, unread), mapping, version=VERSIONS[fhir_version])
    sys.stdout.buffer.write(orjson.dumps(bundle, option=orjson.OPT_INDENT_2 if pretty else None) + b"\n")
    for line in unread:
        print(f"dicomcast: {line}", file=sys.stderr)
    if issues:
        for issue in sorted(set(found), key=lambda one: (one.tag, one.rule)):
            print(f"{issue.severity.value}: {issue.tag} {issue.rule}", file=sys.stderr)
    if unread:
        raise typer.Exit(1)


def _instances(paths: list[str], unread: list[str]) -> Iterator[tuple[str, Instance]]:
    """The instances of all files; what cannot be read is told, and does not stop the rest."""
    for path in paths:
        for file in [Path("-")] if path == "-" else files.find(Path(path)):
            try:
                content = sys.stdin.buffer.read() if path == "-" else file.read_bytes()
                for metadata in files.read(content):
                    yield files.instance_of(metadata)
            except OSError as error:
                unread.append(f"{file}: {error.strerror}")
            except Rejected as error:
                unread.append(f"{file}: {error}")
