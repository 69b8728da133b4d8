"""`check`: the preflight."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from dicomcast import telemetry
from dicomcast.check import Finding, State, examine, exit_code
from dicomcast.settings import load_settings

__all__ = ["check", "line"]


def check(as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for programs.")] = False) -> None:
    """Try both servers, credentials, permissions and the state store; say what is wrong and what to do about it.

    It writes nothing that stays, but for a row of its own in an Azure table. It ends with the exit code of the worst
    that it finds: 78 a setting, 77 credentials or permission, 75 what may pass by itself.

    Example: dicomcast check
    """
    settings = load_settings()
    telemetry.configure(settings.log.level, settings.log.format)

    async def work() -> list[Finding]:
        found = []
        async for finding in examine(settings):
            found.append(finding)
            if not as_json:
                print(line(finding), flush=True)
        return found

    found = asyncio.run(work())
    if as_json:
        print(json.dumps([_row(one) for one in found]))
    if code := exit_code(found):
        raise typer.Exit(code)


def line(finding: Finding) -> str:
    """One line, for people."""
    return f"{finding.about:<6} {finding.step:<13} {finding.state:<8} {finding.said}".rstrip()


def _row(finding: Finding) -> dict[str, str | bool | int]:
    return {
        "about": finding.about,
        "step": finding.step,
        "state": finding.state.value.lower(),
        "ok": finding.state is State.OK,
        "said": finding.said,
        "code": finding.code,
    }
