"""The command line. Each command is a few lines here; what it does stands in the library.

stdout is data, stderr is logs and progress. Exit codes: 0 done, 1 done but something is parked (with
`--strict`), 2 usage, 75 a peer stayed away, 77 credentials or permission, 78 configuration, 70 a defect,
130 Ctrl-C.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import dicomcast
from dicomcast.cli import demo, inspect, map, parked, run
from dicomcast.errors import DicomCastError
from dicomcast.telemetry import whereabouts

__all__ = ["app", "main"]

app = typer.Typer(
    name="dicomcast",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("replay")(run.replay)
app.command("status")(inspect.status)
app.add_typer(parked.app, name="parked")
app.command("map")(map.map_files)
app.command("config")(inspect.config)
app.command("demo")(demo.demo)


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
