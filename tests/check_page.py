"""What `dicomcast check` prints in each trouble, as docs/how-to/check.md shows it.

`python -m tests.check_page` writes the blocks of that page anew.
"""

from __future__ import annotations

import asyncio
import re
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dicomcast.check import examine, exit_code
from dicomcast.cli.check import line
from dicomcast.settings import load_settings
from tests.faults import answer, refuse
from tests.servers.embedded import Embedded, embedded_servers
from tests.servers.oauth import CLIENT, SECRET, Keeper, token_server, wanting_tokens
from tests.servers.pki import Pki

__all__ = ["PAGE", "SCENARIOS", "blocks", "printed"]

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "check.md"

Site = AbstractContextManager[tuple[Embedded, dict[str, str]]]
LOGIN = b"<!DOCTYPE html><html><title>Sign in</title></html>"


@contextmanager
def _site(
    folder: Path, settings: dict[str, str] | None = None, **options: object
) -> Iterator[tuple[Embedded, dict[str, str]]]:
    with embedded_servers(folder, **options) as site:  # type: ignore[arg-type]
        site.put("1.2.3")
        yield site, settings or {}


@contextmanager
def _wrong_url(folder: Path) -> Iterator[tuple[Embedded, dict[str, str]]]:
    with _site(folder) as (site, _):
        yield site, {"FHIR__URL": site.dicom_url}


@contextmanager
def _login_page(folder: Path) -> Iterator[tuple[Embedded, dict[str, str]]]:
    with _site(folder) as (site, _):
        site.fhir.always(answer(LOGIN, kind="text/html"))
        yield site, {}


@contextmanager
def _unknown_ca(folder: Path) -> Iterator[tuple[Embedded, dict[str, str]]]:
    with _site(folder, tls=Pki(folder).server()) as found:
        yield found


@contextmanager
def _tokens(
    folder: Path, *, audience: str = "https://fhir.example", role: str = "Reader"
) -> Iterator[tuple[Embedded, dict[str, str]]]:
    with token_server() as issuer:
        keeper = Keeper({"/fhir": "https://fhir.example", "/": "https://archive.example"})
        auth = {
            "KIND": "client-credentials",
            "TOKEN_URL": issuer.endpoint,
            "CLIENT_ID": CLIENT,
            "CLIENT_SECRET": SECRET,
        }
        settings = {f"{peer}__AUTH__{name}": value for peer in ("DICOM", "FHIR") for name, value in auth.items()}
        settings |= {
            "DICOM__AUTH__SCOPE": "https://archive.example/.default",
            "FHIR__AUTH__SCOPE": f"{audience}/.default",
        }
        with _site(folder, settings, front=wanting_tokens(issuer, keeper)) as (site, _):
            if role != "Reader":
                site.fhir.always(refuse(403), on="POST")
            yield site, settings


@contextmanager
def _read_only(folder: Path) -> Iterator[tuple[Embedded, dict[str, str]]]:
    with _site(folder) as (site, _):
        site.fhir.always(refuse(405), on="POST /fhir/$")
        yield site, {}


@contextmanager
def _full_disk(folder: Path) -> Iterator[tuple[Embedded, dict[str, str]]]:
    """No file of this process may grow, as if there were no room."""
    with _site(folder) as found:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            yield found
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


SCENARIOS: dict[str, Callable[[Path], Site]] = {
    "All is well": _tokens,
    "A wrong URL": _wrong_url,
    "A name that DNS does not know": lambda folder: _site(folder, {"DICOM__URL": "https://archive.invalid"}),
    "A certificate of an unknown CA": _unknown_ca,
    "A page to sign in": _login_page,
    "401: another audience": lambda folder: _tokens(folder, audience="https://other.example"),
    "403: a role is missing": lambda folder: _tokens(folder, role=""),
    "R5 where R4 was set": lambda folder: _site(folder, {"FHIR__VERSION": "4.0"}, fhir_options={"version": "5.0.0"}),
    "A FHIR server that is read-only": _read_only,
    "A full disk": _full_disk,
}


async def printed(scenario: str, folder: Path) -> str:
    """What is printed, but for what differs from run to run."""
    with SCENARIOS[scenario](folder) as (site, settings):
        found = [one async for one in examine(load_settings(site.environ(**settings)))]
    text = "".join(f"{line(one)}\n" for one in found) + f"(exit code {exit_code(found)})\n"
    text = text.replace(str(folder), "/var/lib/dicomcast")
    text = re.sub(r"(127\.0\.0\.1:|port )\d{4,5}\b", r"\g<1>8080", text)
    return re.sub(r"ends in \S+", "ends in 59m59s", text)


def blocks(page: str) -> dict[str, str]:
    """The block below each heading of a page."""
    return dict(re.findall(r"^## (.+)\n(?:(?!^## )(?!^```).*\n)*```text\n((?:(?!^```).*\n)*)```$", page, re.MULTILINE))


def main() -> None:
    """Write the blocks of the page anew."""
    page = PAGE.read_text("utf-8")
    for scenario, before in blocks(page).items():
        with tempfile.TemporaryDirectory() as folder:
            now = asyncio.run(printed(scenario, Path(folder)))
        head, heading, rest = page.partition(f"## {scenario}\n")
        page = head + heading + rest.replace(f"```text\n{before}```", f"```text\n{now}```", 1)
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
