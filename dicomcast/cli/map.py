"""`map`: what would come of these files? No server, no settings."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import orjson
import typer

from dicomcast.app import rules
from dicomcast.dicom import files
from dicomcast.errors import Rejected
from dicomcast.mapping.rules import Rules
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
    issues: Annotated[bool, typer.Option("--issues", help="Tell on stderr what is odd in which file.")] = False,
) -> None:
    """Map DICOM files to a FHIR transaction Bundle on stdout, offline.

    Exits 1 if a file that was named cannot be mapped, or there is nothing to map; what is neither DICOM nor JSON
    in a folder is passed over.

    Example: dicomcast map --pretty scan.dcm
    """
    settings = load_offline_settings()
    site = rules(settings.patient, settings.mapping)
    found = _read(paths)
    bundle, _ = bundle_of(found.instances, site, version=VERSIONS[fhir_version])
    sys.stdout.buffer.write(orjson.dumps(bundle, option=orjson.OPT_INDENT_2 if pretty else None) + b"\n")
    for line in found.unread:
        _say(line)
    if found.passed_over:
        one = found.passed_over == 1
        _say(f"passed over {found.passed_over} {'file that is' if one else 'files that are'} no DICOM instance")
    if issues:
        _tell_issues(found, site)
    if not found.files and not found.unread:
        _say("there is nothing to map: no DICOM and no DICOM JSON was found")
    if found.unread or not found.files:
        raise typer.Exit(1)


@dataclass(slots=True)
class _Found:
    """The instances of each file, what could not be read, and how many files of folders are something else."""

    files: dict[str, list[tuple[str, Instance]]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    passed_over: int = 0

    @property
    def instances(self) -> list[tuple[str, Instance]]:
        return [one for some in self.files.values() for one in some]


def _read(paths: list[str]) -> _Found:
    """All files; what cannot be read is told, and does not stop the rest."""
    found = _Found()
    for path in paths:
        folder = path != "-" and Path(path).is_dir()
        for file in [Path("-")] if path == "-" else files.find(Path(path)):
            instances = found.files.setdefault(str(file), [])
            try:
                content = sys.stdin.buffer.read() if path == "-" else file.read_bytes()
                for one in files.instances(content):
                    if isinstance(one, Rejected):
                        found.unread.append(f"{file}: {one}")
                    else:
                        instances.append(one)
            except OSError as error:
                found.unread.append(f"{file}: {error.strerror}")
            except Rejected as error:
                # Beside images lie a README, and the index of a disc (PS3.10 §8.6): nobody asked for these.
                if folder and (error.reason == "not-dicom" or file.name == "DICOMDIR"):
                    found.passed_over += 1
                else:
                    found.unread.append(f"{file}: {error}")
            if not instances:
                del found.files[str(file)]
    return found


def _tell_issues(found: _Found, site: Rules) -> None:
    """Each issue once a file, with the file's name if there are several."""
    for file, instances in found.files.items():
        where = f"{file}: " if len(found.files) > 1 else ""
        for issue in sorted(set(bundle_of(instances, site)[1]), key=lambda one: (one.tag, one.rule)):
            print(f"{where}{issue.severity.value}: {issue.tag} {issue.rule}", file=sys.stderr)


def _say(line: str) -> None:
    print(f"dicomcast: {line}", file=sys.stderr)
