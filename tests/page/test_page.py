"""The status page as a document: what it says first, that it is whole, stands alone, and names nobody."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dicomcast import page
from dicomcast.page import POLICY, render
from dicomcast.page.plot import plot
from dicomcast.page.verdict import verdict
from dicomcast.page.words import number, span, unidentified
from dicomcast.trend import Sample
from dicomcast.vitals import Backlog, Phase, Vitals
from tests.scenes import NOW, SCENES, Seen
from tests.screenshots import FOLDER, SHOTS
from tests.stores import row

STYLE = (Path(page.__file__).parent / "style.css").read_text("utf-8")
VOID = {"meta", "link", "br"}


class Outline(HTMLParser):
    """Elements in their order, with what is opened and not closed; an id may be there once."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(html: str) -> Outline:
    """Read a page, which has to be whole."""
    found = Outline()
    found.feed(html)
    found.close()
    assert found.open == []
    return found


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest) -> Vitals:
    """Each of the scenes in turn."""
    vitals: Vitals = SCENES[request.param]()
    return vitals


# --- What it says first ---

FIRST = {
    "empty": ("idle", "Starting", "Started 4 s ago"),
    "in-step": (
        "good",
        "In step",
        "FHIR has all that the archive told. The archive was last read to its end 23 s ago.",
    ),
    "load": ("busy", "Catching up", "1,058,698 entries of the change feed to go, the oldest 44 min old."),
    "blocked": ("bad", "Blocked", "Nothing gets through for 41 min: fhir at https://fhir.hospital.example/r4 cannot"),
    "parked": ("warn", "In step", "all that the archive told, but for 15 studies that could not be cast."),
    "standby": ("idle", "Standing by", "This one takes over if it goes away."),
}


@pytest.mark.parametrize("name", SCENES)
def test_the_verdict(name: str) -> None:
    """One word, one colour, and why."""
    said = verdict(SCENES[name](), NOW, alive=True)
    assert (said.tone, said.title) == FIRST[name][:2]
    assert FIRST[name][2] in said.sentence


def test_a_process_that_stands_still_says_that_first(scene: Vitals) -> None:
    """Whatever it last knew."""
    assert verdict(scene, NOW, alive=False).title == "Stuck"


def test_a_peer_in_trouble_is_no_good_day() -> None:
    """Before the worker is blocked by it."""
    vitals = SCENES["in-step"]()
    fhir = vitals.peers[1]
    assert isinstance(fhir, Seen)
    fhir.trouble = "fhir does not answer (ReadTimeout)"
    said = verdict(vitals, NOW, alive=True)
    assert (said.tone, said.title) == ("warn", "In trouble")
    assert said.sentence == "The FHIR server gives no usable answers: fhir does not answer (ReadTimeout)."


def test_an_archive_that_cannot_be_measured() -> None:
    """Nothing is claimed of what nobody knows, and no picture is drawn of it."""
    vitals = SCENES["in-step"]()
    assert vitals.backlog is not None
    vitals.backlog = replace(vitals.backlog, measurable=False)
    assert verdict(vitals, NOW, alive=True).title == "In step"
    vitals.polled_at = None
    assert verdict(vitals, NOW, alive=True).title == "Catching up"
    vitals.trend.note(NOW, None, True, 0)
    assert "not known" in render(vitals, NOW, version="1")
    assert "cannot be told" in plot([Sample(int(NOW.timestamp()), None, True, 0)], NOW)


def test_a_worker_that_settled_nothing_yet() -> None:
    """At work, and no more is known."""
    assert verdict(Vitals(phase=Phase.ACTIVE), NOW, alive=True).title == "At work"


# --- The document ---


def test_it_is_whole_and_has_landmarks(scene: Vitals) -> None:
    """Every element is closed, every id is there once, every section has its name, every picture its text."""
    found = outline(render(scene, NOW, version="0.1.0"))
    names = [tag for tag, _ in found.found]
    assert {"header", "main", "footer"} <= set(names) and names.count("h1") == 1
    assert len(found.ids) == len(set(found.ids))
    for tag, attributes in found.found:
        if tag == "section":
            assert attributes["aria-labelledby"] in found.ids
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
        if tag == "th":
            assert attributes["scope"] == "col"
    assert ("html", {"lang": "en"}) in found.found


def test_it_stands_alone(scene: Vitals) -> None:
    """Nothing is loaded from elsewhere, and the policy knows what is on it, by hash."""
    html = render(scene, NOW, version="0.1.0")
    for tag, attributes in outline(html).found:
        assert not {"src", "srcset", "style", "onload", "onclick", "action"} & attributes.keys()
        if "href" in attributes:
            assert re.match(r"data:image/svg|/readyz$|/metrics$", attributes["href"] or ""), tag
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
        known = b64encode(sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{known}'" in POLICY
    assert "default-src 'none'" in POLICY and "unsafe" not in POLICY


def test_what_comes_from_outside_is_text() -> None:
    """URLs, reasons and names are written as they are."""
    evil = "<script>alert('x')</script>"
    vitals = SCENES["blocked"]()
    vitals.source = vitals.owner = vitals.reason = evil
    assert vitals.backlog is not None
    vitals.backlog = replace(vitals.backlog, parked=1, reasons={evil: 1})
    for one in vitals.peers:
        one.base_url = one.peer = evil
    html = render(vitals, NOW, version=evil)
    assert html.count("<script>") == 1
    assert unescape(html).count(evil) >= 6


def test_what_is_parked_is_counted_by_reason() -> None:
    """The most frequent first, and the command that lists them."""
    text = outline(render(SCENES["parked"](), NOW, version="1")).text
    assert re.search(r"multiple-match9metadata-unreadable4conflict1instance-left-out1", text)
    assert "dicomcast parked list --reason multiple-match" in text


def test_rows_are_counted_by_reason() -> None:
    """Those that were dropped are nobody's concern."""
    rows = [row("1"), row("2", next_attempt=None)]
    assert Backlog.of(Backlog().settled, Backlog().latest, rows).reasons == {"refused": 2}


# --- The picture ---


def test_the_picture_grows_with_what_is_known() -> None:
    """The shortest of its ranges that holds all."""
    start = int(NOW.timestamp()) // 60 * 60
    for minutes, shown in (
        (1, "1 h ago"),
        (59, "1 h ago"),
        (59, "30 min ago"),
        (100, "1 h 30 min ago"),
        (1440, "24 h ago"),
    ):
        samples = [Sample(start - 60 * ago, 1.0, True, 1) for ago in range(minutes - 1, -1, -1)]
        drawn = plot(samples, NOW)
        assert f">{shown}<" in drawn
        assert f"{minutes:,} studies were settled" in drawn or minutes == 1440
    assert len(plot(samples, NOW)) < 20_000


def test_a_gap_stays_a_gap() -> None:
    """Where the process did not run nothing is drawn, and trouble is told in words too."""
    start = int(NOW.timestamp()) // 60 * 60
    samples = [Sample(start - 600, 30.0, True, 0), Sample(start - 120, 3000.0, False, 0)]
    drawn = plot(samples, NOW)
    assert drawn.count('class="area"') == 2
    assert "at most 50 min" in drawn and "Trouble in 1 of the last 60 minutes." in drawn


# --- Words ---


def test_numbers_and_spans() -> None:
    """As people say them."""
    assert [number(None), number(0), number(1234567)] == ["–", "0", "1,234,567"]
    seconds = (None, -3, 0, 59.9, 60, 119, 3600, 7500, 86_400, 370_000)
    assert [span(one) for one in seconds] == "–|0 s|0 s|59 s|1 min|1 min 59 s|1 h|2 h 5 min|1 d|4 d 6 h".split("|")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("study 1.2.3: refused", "study [UID]: refused"),
        ("dicom answered 500 to GET /v2/studies/1.2.3/series/4.5/metadata", None),
        ("no match for 1.2.840.113619.2.55.3.", "no match for [UID]."),
        ("dicom at http://10.0.0.1:8080 does not answer", "dicom at http://10.0.0.1:8080 does not answer"),
        ("study after study fails and none passes: HTTP 1.1", "study after study fails and none passes: HTTP 1.1"),
    ],
)
def test_uids_are_left_out(text: str, left: str | None) -> None:
    """A study's UID may lead to a patient; an address leads to a server."""
    expected = left or "dicom answered 500 to GET /v2/studies/[UID]/series/[UID]/metadata"
    assert unidentified(text) == expected


def test_a_reason_with_a_uid_is_shown_without() -> None:
    """Blocked by a study, or in trouble with one."""
    vitals = SCENES["blocked"]()
    vitals.reason = "study after study fails and none passes: study 1.2.840.99.1 was refused"
    assert "1.2.840" not in render(vitals, NOW, version="1")


# --- Colours ---


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _palettes() -> Iterator[dict[str, str]]:
    for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL):
        found = dict(re.findall(r"--(\w+): (#[0-9a-f]+);", block))
        yield {name: f"#{''.join(2 * one for one in value[1:])}" if len(value) == 4 else value
               for name, value in found.items()}  # fmt: skip


def test_contrast() -> None:
    """Light and dark, text has the contrast that WCAG 2.2 (AA) asks for."""
    light, dark = _palettes()
    for palette in (light, dark):
        for text in ("text", "muted", "good", "busy", "idle", "warn", "bad"):
            for ground in ("card", "page"):
                one, other = sorted((_luminance(palette[text]), _luminance(palette[ground])))
                assert (other + 0.05) / (one + 0.05) >= 4.5, (text, ground)


# --- The documentation ---


def test_pictures_are_in_the_documentation() -> None:
    """Each is there, small, and shown on a page; no other is."""
    shown = (FOLDER.parent / "status-page.md").read_text("utf-8")
    assert {path.stem for path in FOLDER.glob("*.png")} == set(SHOTS)
    for name in SHOTS:
        assert (FOLDER / f"{name}.png").stat().st_size < 100_000
        assert f"(status-page/{name}.png)" in shown
