"""Many senders at once, and a kill in the middle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from threading import Event

import httpx
import pytest

from tests.made_files import ct
from tests.orthanc.plugin import Feed, with_feed
from tests.servers.embedded import until

pytestmark = pytest.mark.long

SENDERS = 4


@contextmanager
def http(feed: Feed) -> Iterator[httpx.Client]:
    """A connection of its own, for as long as Orthanc lives."""
    with httpx.Client(base_url=feed.server.url, timeout=60, trust_env=False) as client, suppress(httpx.TransportError):
        yield client


def read(feed: Feed, stop: Event) -> None:
    """A client that reads pages with metadata all the time."""
    with http(feed) as client:
        while not stop.wait(0.05):
            client.get("/v1/changefeed", params={"limit": "100"}).raise_for_status()


def test_a_bulk_load_is_seen_once_across_a_kill(tmp_path: Path) -> None:
    """1,000 instances from four senders. What was answered is there after a SIGKILL, and nothing is there twice."""
    each = 250
    waiting = [
        [ct(f"2.25.{sender}", f"2.25.{sender}.1", f"2.25.{sender}.1.{number}") for number in range(each)]
        for sender in range(SENDERS)
    ]
    answered: list[list[str]] = [[] for _ in range(SENDERS)]
    stop = Event()

    def send(sender: int) -> None:
        with http(feed) as client:
            for number in range(len(answered[sender]), each):
                client.post("/instances", content=waiting[sender][number]).raise_for_status()
                answered[sender].append(f"2.25.{sender}.1.{number}")

    with with_feed(tmp_path / "orthanc", overwrite=False) as feed, ThreadPoolExecutor(SENDERS + 1) as pool:
        reader = pool.submit(read, feed, stop)
        sending = [pool.submit(send, sender) for sender in range(SENDERS)]
        until("half of it was answered", lambda: sum(map(len, answered)) >= SENDERS * each // 2)
        seen = feed.actions()
        feed.server.kill()
        for future in (reader, *sending):
            future.result()
        before = {uid for uids in answered for uid in uids}
        feed.start()
        found = feed.actions()
        assert found[: len(seen)] == seen
        assert before <= {uid for _, uid in found} and len(found) <= len(before) + SENDERS
        reader = pool.submit(read, feed, stop)
        for future in [pool.submit(send, sender) for sender in range(SENDERS)]:
            future.result()
        stop.set()
        reader.result()
        found = feed.actions()
        assert {action for action, _ in found} == {"Create"} and len(found) == SENDERS * each
        for sender in range(SENDERS):
            assert [uid for _, uid in found if uid.startswith(f"2.25.{sender}.")] == answered[sender]
        for study in range(SENDERS):
            feed.server.delete("study", feed.server.lookup(f"2.25.{study}")[0])
        feed.server.kill()  # which is faster than it can tell of them
        feed.start()
        deleted = feed.actions()[SENDERS * each :]
        assert sorted(deleted) == sorted(("Delete", uid) for _, uid in found)


def test_whatever_happens_at_once_comes_in_an_order_that_can_be(tmp_path: Path) -> None:
    """Stores, overwrites and deletes of the same few instances, a kill, and more of them: the end is what there is."""

    def send(seed: int) -> None:
        chosen = Random(seed)
        with http(feed) as client:
            for _ in range(60):
                number = chosen.randrange(8)
                file = ct("2.25.1", "2.25.1.1", f"2.25.1.1.{number}", PatientID=chosen.choice("AB"))
                id = client.post("/instances", content=file).raise_for_status().json()["ID"]
                if chosen.random() < 0.5:
                    client.delete(f"/instances/{id}")  # which another may have done before

    with with_feed(tmp_path / "orthanc") as feed, ThreadPoolExecutor(SENDERS + 1) as pool:
        for _ in range(2):
            written = len(feed.entries())
            reader = pool.submit(read, feed, Event())
            sending = [pool.submit(send, seed) for seed in range(SENDERS)]
            until("much has happened", lambda written=written: len(feed.entries()) > written + 50)
            feed.server.kill()
            for future in (reader, *sending):
                future.result()
            feed.start()
        there = {
            feed.server.ask("GET", f"/instances/{id}")["MainDicomTags"]["SOPInstanceUID"]
            for id in feed.server.ask("GET", "/instances")
        }
        entries = feed.entries()
        assert {one["sopInstanceUid"] for one in entries if one["state"] == "Current"} == there
        histories = defaultdict(list)
        for one in entries:
            histories[one["sopInstanceUid"]].append(one["action"])
        for history in histories.values():
            assert history[0] == "Create"
            assert all((one == "Delete") == (other == "Create") for one, other in pairwise(history))
