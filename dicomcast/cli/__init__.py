"""The command line. Each command is a few lines here; what it does stands in the library.

stdout is data, stderr is logs and progress. Exit codes: 0 done, 1 done but something is parked (with
`--strict`), 2 usage, 75 a peer stayed away, 77 credentials or permission, 78 configuration, 70 a defect,
130 Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

import dicomcast
from dicomcast.errors import DicomCastError
from dicomcast.telemetry import whereabouts

__all__ = ["app", "main"]

# Where each command stands, in the order in which they are listed.
_COMMANDS = {
    "run": "run:run",
    "replay": "run:replay",
    "backfill": "backfill:backfill",
    "status": "inspect:status",
    "parked": "parked:app",
    "map": "map:map_files",
    "check": "check:check",
    "config": "inspect:config",
    "demo": "demo:demo",
}


class _Commands(Mapping[str, Any]):
    """Commands that are imported when they are asked for: to load all of them takes longer than many a run."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = _COMMANDS[name].partition(":")
        found = getattr(import_module(f"{__name__}.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False, rich_markup_mode=None)
            found.command(name)(function)
        return get_command(found)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Group(TyperGroup):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands()  # type: ignore[assignment]  # nothing is added to it


app = typer.Typer(
    name="dicomcast",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dicomcast {dicomcast.__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]


@app.callback()
def dicomcast_(version: Version = False) -> None:
    """Keep a FHIR server in step with a DICOM archive."""


def main() -> None:
    """Run the command; an error of ours is a sentence and an exit code, never a traceback."""
    try:
        app()
    except DicomCastError as error:
        for line in str(error).splitlines():
            print(f"dicomcast: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        print(f"dicomcast: a defect of dicomcast, please report it: {whereabouts(error)}", file=sys.stderr)
        sys.exit(70)  # EX_SOFTWARE (sysexits.h)
