"""The benchmarks measure what they say: all contenders do the same work, and what passes is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.contenders import Contender, run
from benchmarks.content import instances_of
from benchmarks.feed import Feed, hospital, one_study
from benchmarks.report import report
from benchmarks.servers import Servers, servers
from benchmarks.suite import measure
from benchmarks.workloads import Sizes, workloads

pytestmark = pytest.mark.long

TINY = Sizes(study=20, studies=3, backlog=30, latency=0.001, windows=4, of_the_slow=2, of_the_long=2)


def expected(feed: Feed) -> set[tuple[str, str, str]]:
    """What has to stand in FHIR."""
    return {(one.study_uid, one.series_uid, one.instance_uid) for one in feed.entries()}


@pytest.mark.timeout(600)
def test_whole_suite() -> None:
    """Each workload by each contender, the tables, and what was wanted."""
    works = workloads(TINY)
    results = measure(works, repeats=1, tell=lambda _: None)
    for work in works:
        # Each reads the feed's pages and posts something, if there is something to post.
        assert results[work.name, Contender.FLOOR].counts["pages"] == bool(work.feed.sizes)
        for contender in (Contender.DICOMCAST, Contender.FLOOR):
            figure = results[work.name, contender]
            assert bool(figure.counts["bundles"]) == bool(work.feed.sizes)
            assert min(figure.cost.sent, figure.cost.received, figure.cost.cpu, figure.cost.memory) > 0
    # Two requests a page, the last of which is empty, and four an entry.
    assert results["study", Contender.PREDECESSOR].cost.requests == 2 * (2 + 1) + 4 * 20
    assert results["double", Contender.PREDECESSOR].scaled
    assert results["double", Contender.PREDECESSOR].cost.requests == 2 * (4 + 1) + 4 * 40
    assert results["trickle", Contender.DICOMCAST].counts["versions"] == 4
    assert ("tenth", Contender.PREDECESSOR) not in results
    text = report(results, works)
    assert all(work.title in text for work in works)
    assert "| yes |" in text


@pytest.fixture(scope="module")
def peers() -> Iterator[Servers]:
    """Both doubles."""
    with servers() as running:
        yield running


@pytest.mark.timeout(300)
@pytest.mark.parametrize("feed", [one_study(12), hospital(25)], ids=["study", "hospital"])
def test_contenders_agree(peers: Servers, tmp_path: Path, feed: Feed) -> None:
    """All of them put the same studies into FHIR: those of the archive, each series and instance once."""
    for contender in (Contender.DICOMCAST, Contender.FLOOR, Contender.PREDECESSOR):
        peers.prepare(feed, 0.0, keep_bundles=contender is Contender.DICOMCAST)
        cost = run(contender, peers, tmp_path, {"WORKER__WINDOW": "5"})
        found = list(instances_of(peers.studies()))
        assert set(found) == expected(feed)
        assert len(found) == len(feed)
        assert peers.holds_all()
        assert cost.requests > peers.counts()["pages"] + peers.counts()["bundles"]
        if contender is Contender.DICOMCAST:
            peers.save_bundles(tmp_path / "bundles")


@pytest.mark.timeout(300)
def test_second_version_of_the_feed(peers: Servers, tmp_path: Path) -> None:
    """dicomcast reads v2 of the double's feed as it reads v1."""
    feed = hospital(250)
    peers.prepare(feed, 0.0)
    run(Contender.DICOMCAST, peers, tmp_path, {"DICOM__API_VERSION": "v2"})
    assert set(instances_of(peers.studies())) == expected(feed)


def test_nothing_done_is_found_out(peers: Servers) -> None:
    """A contender that does nothing would be fast."""
    peers.prepare(one_study(1), 0.0)
    assert not peers.holds_all()
