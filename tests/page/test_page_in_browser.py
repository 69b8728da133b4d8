"""The status page in a real Chromium: it renders, complains of nothing, asks nobody else, and keeps itself up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomcast.health import serve_health
from dicomcast.vitals import Phase, Vitals
from tests.scenes import SCENES
from tests.screenshots import SHOTS, take
from tests.servers import skip
from tests.servers.chromium import Browser, chromium, installed

pytestmark = pytest.mark.long

HEADLINE = "document.getElementById('headline').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all of them."""
    if installed() is None:
        skip("Chromium is not installed (Debian: apt-get install chromium)")
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def at_work(name: str) -> Vitals:
    """A scene whose process turns."""
    vitals: Vitals = SCENES[name]()
    vitals.beat = time.monotonic()
    return vitals


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_every_scene(browser: Browser, name: str, width: int, dark: bool) -> None:
    """Light on a wall and dark on a telephone: the console is silent, nobody else is asked, nothing is cut off."""
    browser.look(width, 844, dark=dark)
    with serve_health(at_work(name), "127.0.0.1", 0) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        assert browser.value("document.documentElement.scrollWidth") <= width
        ground = browser.value("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(14, 20, 27)" if dark else "rgb(238, 241, 245)")
        assert browser.value("document.fonts.status") == "loaded"
        assert {url for url in browser.asked if not url.startswith("data:image/svg")} == {f"http://127.0.0.1:{port}/"}
        assert browser.complaints == []


def test_it_keeps_itself_up(browser: Browser) -> None:
    """What is new is shown without being asked for; what is old is called so, and well again when it is."""
    vitals = at_work("in-step")
    browser.look(1280, 844)
    browser.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="const slow = setInterval; window.setInterval = (work, wait) => slow(work, wait / 20);",
    )
    with serve_health(vitals, "127.0.0.1", 0) as port:
        browser.open(f"http://127.0.0.1:{port}/status")
        assert browser.value(HEADLINE) == "In step"
        browser.value("window.marked = true")
        vitals.beat = time.monotonic()
        vitals.enter(Phase.BLOCKED, "fhir does not answer (ConnectError)")
        browser.until(f"{HEADLINE} === 'Blocked'")
        assert browser.value("document.title") == "Blocked · dicomcast"
        assert browser.value("document.getElementById('verdict').className") == "bad"
        assert browser.value("document.getElementById('lost').hidden") is True
    browser.until("!document.getElementById('lost').hidden")
    vitals.enter(Phase.ACTIVE)
    vitals.beat = time.monotonic()
    with serve_health(vitals, "127.0.0.1", port):
        browser.until(f"document.getElementById('lost').hidden && {HEADLINE} !== 'Blocked'")
    assert browser.value("window.marked") is True, "it was loaded anew, which flickers"


def test_nothing_but_what_the_policy_knows_can_run(browser: Browser) -> None:
    """Were anything to slip into the page, the browser would not run it, nor fetch what it names."""
    with serve_health(at_work("in-step"), "127.0.0.1", 0) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        browser.complaints.clear()
        browser.value(
            "document.body.insertAdjacentHTML('beforeend', '<img src=http://127.0.0.1:9/x onerror=\"window.ran=1\">')"
        )
        browser.until("true")
        assert browser.value("window.ran") is None
        assert any("Content Security Policy" in said for said in browser.complaints)


@pytest.mark.parametrize("name", SHOTS)
def test_the_pictures_can_be_taken(browser: Browser, name: str, tmp_path: Path) -> None:
    """As `python -m tests.screenshots` does."""
    assert take(browser, name, tmp_path).startswith(b"\x89PNG")
