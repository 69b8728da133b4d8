"""The pictures of docs/how-to/status-page.md: `python -m tests.screenshots` takes them anew.

Needs Chromium, and pngquant, which makes them small (Debian: `apt-get install chromium pngquant`).
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from dicomcast import __version__
from dicomcast.page import render
from tests.scenes import NOW, SCENES
from tests.servers.chromium import Browser, chromium

__all__ = ["FOLDER", "SHOTS", "take"]

FOLDER = Path(__file__).parents[1] / "docs/how-to/status-page"
# By name: the scene, the width of the screen, and whether it is dark.
SHOTS = {
    "in-step": ("in-step", 1100, False),
    "under-load": ("load", 1100, True),
    "blocked": ("blocked", 1100, False),
    "parked": ("parked", 1100, True),
    "empty": ("empty", 1100, False),
    "phone": ("blocked", 390, True),
}


def take(browser: Browser, name: str, folder: Path) -> bytes:
    """The picture of a scene."""
    scene, width, dark = SHOTS[name]
    page = folder / f"{name}.html"
    page.write_text(render(SCENES[scene](), NOW, version=__version__), "utf-8")
    browser.look(width, 800, dark=dark)
    browser.open(page.as_uri())
    return browser.picture()


def main() -> None:
    """Take all of them."""
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, chromium(Path(folder)) as browser:
        for name in SHOTS:
            picture = take(browser, name, Path(folder))
            small = subprocess.run(
                ["pngquant", "--speed", "1", "64", "-"], input=picture, capture_output=True, check=True
            )
            (FOLDER / f"{name}.png").write_bytes(small.stdout)


if __name__ == "__main__":
    main()
