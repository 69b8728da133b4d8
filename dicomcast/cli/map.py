"""`map`: what would come of these files? No server, no settings."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import orjson
import typer

from dicomcast.app import rules
from dicomcast.dicom import files
from dicomcast.errors import Rejected
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import oid_urn
from dicomcast.model import Instance, Issue
from dicomcast.offline import bundle_of
from dicomcast.settings import load_offline_settings
from dicomcast.versions import VERSIONS

__all__ = ["map_files"]

T = TypeVar("T")

_STDIN = Path("-")


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

    Exits 1 if a file that was named, or a DICOM file in a folder, cannot be mapped, or there is nothing to map. What is
    no DICOM in a folder is passed over.

    Example: dicomcast map --pretty scan.dcm
    """
    settings = load_offline_settings()
    site = rules(settings.patient, settings.mapping)
    found = _read(paths)
    bundle, odd = bundle_of(found.instances, site, version=VERSIONS[fhir_version])
    sys.stdout.buffer.write(orjson.dumps(bundle, option=orjson.OPT_INDENT_2 if pretty else None) + b"\n")
    for line in found.unread:
        _say(line)
    if found.passed_over:
        one = found.passed_over == 1
        _say(f"passed over {found.passed_over} {'file that is' if one else 'files that are'} no DICOM instance")
    if issues:
        _tell_issues(found, site, odd)
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
    with _progress([one for path in paths for one in _files(path)]) as listed:
        for file, in_folder in listed:
            _read_file(found, file, in_folder)
    return found


def _files(path: str) -> list[tuple[Path, bool]]:
    """The file, or those of a folder, and whether it is one of these."""
    there = Path(path)
    return [(there, False)] if path == "-" else [(file, there.is_dir()) for file in files.find(there)]


@contextmanager
def _progress(listed: list[T]) -> Iterator[Iterable[T]]:
    """On a terminal, and where it may take a while, with a bar on stderr that is gone in the end."""
    if len(listed) < 2 or not sys.stderr.isatty():
        yield listed
        return
    with typer.progressbar(listed, label="reading", show_pos=True, file=sys.stderr) as bar:
        yield bar
    typer.echo("\x1b[1A\x1b[2K", file=sys.stderr, nl=False)  # up to the line where it was, and wipe it


def _read_file(found: _Found, file: Path, in_folder: bool) -> None:
    instances = []
    try:
        content = sys.stdin.buffer.read() if file == _STDIN else file.read_bytes()
        for one in files.instances(content):
            if isinstance(one, Rejected):
                found.unread.append(f"{file}: {one}")
            else:
                instances.append(one)
    except OSError as error:
        found.unread.append(f"{file}: {error.strerror}")
    except Rejected as error:
        # Beside images lie a README, settings, and the index of a disc (PS3.10 §8.6): nobody asked for these.
        nothing = error.reason == "not-dicom" or file.name == "DICOMDIR" or file.suffix == ".json"
        if in_folder and nothing:
            found.passed_over += 1
        else:
            found.unread.append(f"{file}: {error}")
    if instances:
        found.files.setdefault(str(file), []).extend(instances)


def _tell_issues(found: _Found, site: Rules, odd: Mapping[str, Collection[Issue]]) -> None:
    """Each issue once a file, with the file's name if there are several; then what no file alone is odd in."""
    told = set()
    for file, instances in found.files.items():
        alone = bundle_of(instances, site)[1]
        told |= {(study, issue) for study, issues in alone.items() for issue in issues}
        _print(f"{file}: " if len(found.files) > 1 else "", {issue for issues in alone.values() for issue in issues})
    for study, issues in odd.items():
        # What is no UID may be anything, a name too.
        name = f"study {study}: " if oid_urn(study) else "a study: "
        _print(name, {issue for issue in issues if (study, issue) not in told})


def _print(where: str, issues: Collection[Issue]) -> None:
    for issue in sorted(issues, key=lambda one: (one.tag, one.rule)):
        print(f"{where}{issue.severity.value}: {issue.tag} {issue.rule}", file=sys.stderr)


def _say(line: str) -> None:
    print(f"dicomcast: {line}", file=sys.stderr)
