"""Write what is made from the code: reference pages, and the chart's README and schema.

`--check` exits 1 when one of them is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
import typer

from dicomcast import cli
from dicomcast.mapping.rows import Row
from dicomcast.mapping.table import TABLES
from dicomcast.mapping.tags import tag
from dicomcast.metrics import INSTRUMENTS
from dicomcast.settings import Settings
from dicomcast.settings.predecessor import ROWS
from dicomcast.settings.sources import DELIMITER, PREFIX, Variable, variables
from docs import chart

ROOT = Path(__file__).parents[1]
NOTICE = "<!-- Written by docs/generate.py from the code: change it there. -->"

SETTINGS = """\
# Settings

A setting comes from the first of these sources that has it:

1. an environment variable of the name below;
2. a file of that name in `/run/secrets`, or in the directory that `DICOMCAST_SECRETS_DIR` names;
3. the Azure Key Vault whose address is in `DICOMCAST_KEYVAULT`, as a secret of that name with `-` for each `_`, such as
   `DICOMCAST-FHIR--AUTH--CLIENT-SECRET` ([credentials](../how-to/credentials.md#azure-key-vault));
4. the TOML file that `DICOMCAST_CONFIG` names, where `DICOMCAST_FHIR__URL` is `url` under `[fhir]`
   and `DICOMCAST_FHIR__AUTH__KIND` is `kind` under `[fhir.auth]`;
5. the default.

Names may be written in upper or lower case. One that is misspelt is an error, and so is a value that does
not fit; all of them are reported together, with exit code 78 and without the values. Durations read `30s`,
`4m`, `1h30m`, `500ms` or ISO 8601 (`PT30S`); a bare number is refused. `dicomcast config` shows what is in
effect and where it came from.
"""


def settings_page() -> str:
    """Make the page of settings: a table for each group of the tree."""
    known = variables(Settings).values()
    sections = [SETTINGS]
    for group, field in Settings.model_fields.items():
        mine = [each for each in known if each.name.startswith(f"{PREFIX}{group.upper()}{DELIMITER}")]
        about = field.annotation.__doc__ if field.annotation else ""
        rows = ["| Variable | Value | Default | Meaning |", "|---|---|---|---|", *map(_row, mine)]
        sections.append(f"## {group.upper()}\n\n{about}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(sections)


def _row(variable: Variable) -> str:
    default = "**required**" if variable.required else f"`{variable.default}`" if variable.default else ""
    return f"| `{variable.name}` | {variable.written} | {default} | {variable.description} |"


CLI = """\
# Command line

stdout is data; logs and progress go to stderr. Exit codes are in [errors](errors.md).
"""


def cli_page() -> str:
    """Make the page of commands: what `--help` says of each."""
    root = typer.main.get_command(cli.app)
    return "\n".join([CLI, *_help(root, click.Context(root, info_name="dicomcast"))])


def _help(command: click.Command, context: click.Context) -> list[str]:
    context.max_content_width = context.terminal_width = 120
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    sections = [f"## {context.command_path}\n\n```text\n{text}\n```\n"]
    for name, inner in getattr(command, "commands", {}).items():
        sections += _help(inner, click.Context(inner, parent=context, info_name=name))
    return sections


METRICS = """\
# Metrics

Served at `/metrics` of the health port in Prometheus' text format, where dots become underscores, a unit of seconds
is written out (`dicomcast_lag_seconds`), and counters end in `_total`. It needs more packages, and answers 501
without them: `pip install '.[prometheus]'` in a clone. Where nobody can ask, the same metrics
[are sent](../how-to/telemetry.md), by the names below.
No label names a study or a patient.
"""


def metrics_page() -> str:
    """Make the page of metrics."""
    rows = ["| Name | Kind | Unit | Meaning |", "|---|---|---|---|"]
    rows += [f"| `{name}` | {kind} | {unit} | {about} |" for name, kind, unit, about, _ in INSTRUMENTS]
    return METRICS + "\n" + "\n".join(rows) + "\n"


MAPPING = """\
# Mapping

What each element of FHIR R4 (and R4B) is made of, by the functions that make it. A study and a series have their
attributes from the instance that speaks for them, as [the design](../explanation/design.md) tells. A value that breaks
a rule is left out, and told by `map --issues`, the log and the metric `dicomcast.issues`; so is a `contradiction`
between instances of a study, and a `patient-mismatch` with the Patient that others keep. No other element is written:
no address, telephone number, comment or death of a Patient, no Practitioner, Procedure or Specimen. The
[golden files](../../tests/golden) show it by example.

Sources: *R4 mappings* are those of <https://hl7.org/fhir/R4/imagingstudy-mappings.html> with their misprints mended,
PS3.x the parts of DICOM, *v2-to-FHIR* the maps of HL7 v2 segments, *MADO* the manifest of IHE Radiology. An *extra* is
mapped only where [`MAPPING__EXTRAS`](settings.md#mapping) names it.
"""


def mapping_page() -> str:
    """Make the page of the mapping: a table for each kind of object."""
    sections = [MAPPING]
    for table in TABLES:
        rows = ["| Element | DICOM | Rule | Source |", "|---|---|---|---|", *map(_element, table.rows)]
        sections.append(f"## {table.path}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(sections)


def _element(row: Row) -> str:
    name, _, part = row.element.partition(":")
    element = f"`{name}`" + (f" ({part})" if part else "") + (f", extra `{row.extra}`" if row.extra else "")
    attributes = "<br>".join(f"{keyword} ({tag(keyword)[:4]},{tag(keyword)[4:]})" for keyword in row.attributes)
    return f"| {element} | {attributes} | {' '.join(row.rule.split())} | {row.clause} |"


PREDECESSOR = """\
# DICOM Cast's settings

Variables of DICOM Cast are understood as they stand, in any case, from the environment and from the Key Vault that
`KeyVault__Endpoint` names (with `--` for `__`). `run` says on stderr what became of each, and `dicomcast config` shows
it as the source. A value of ours wins, from whatever source; any of ours in `…__AUTH__`, `STATE__` or `TELEMETRY__`
wins over all of theirs in that group. An empty value is none. The rest is in
[moving from DICOM Cast](../how-to/move-from-dicom-cast.md).
"""


def predecessor_page() -> str:
    """Make the page of what the settings of DICOM Cast become."""
    rows = ["| DICOM Cast | dicomcast | |", "|---|---|---|"]
    for row in ROWS:
        fixed = [f"`{name}={value}`" for name, value in row.fixed.items()]
        rows.append(f"| `{row.old}` | {', '.join([*(f'`{name}`' for name in row.new), *fixed]) or '–'} | {row.why} |")
    return PREDECESSOR + "\n" + "\n".join(rows) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "charts/dicomcast/README.md": chart.readme,
    "charts/dicomcast/values.schema.json": chart.schema,
    "docs/reference/cli.md": cli_page,
    "docs/reference/dicom-cast-settings.md": predecessor_page,
    "docs/reference/mapping.md": mapping_page,
    "docs/reference/metrics.md": metrics_page,
    "docs/reference/settings.md": settings_page,
}


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write what is stale, or with `--check` only name it."""
    check, stale = "--check" in arguments, []
    for name, page in PAGES.items():
        path, text = root / name, page()
        if name.endswith(".md"):  # JSON has no comments
            text = f"{NOTICE}\n\n{text}"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for name in stale:
        sys.stderr.write(f"{name}: {'stale, run `make docs`' if check else 'written'}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
