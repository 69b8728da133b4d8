"""The health port: honest about the worker, quick, quiet, and without a patient."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dicomcast import health
from dicomcast.app import App
from dicomcast.errors import ConfigError
from dicomcast.health import serve_health
from dicomcast.metrics import INSTRUMENTS
from dicomcast.model import Cursor, Issue, Outcome
from dicomcast.standing import Standing
from dicomcast.vitals import Backlog, Phase, Vitals
from dicomcast.worker import Job, Worker
from tests.harness import Harness


def get(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Ask as a probe does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def facts(port: int, path: str) -> tuple[int, dict[str, Any]]:
    status, body = get(port, path)
    return status, json.loads(body)


def samples(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """What /metrics says: by name, by the values of the labels."""
    status, body = get(port, "/metrics")
    assert status == 200
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for another thread."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


# --- /livez ---


def test_alive_while_the_loop_turns() -> None:
    """The beat is that of the event loop, and its age is told."""
    vitals = Vitals(beat=time.monotonic())
    with serve_health(vitals, "127.0.0.1", 0) as port:
        status, body = facts(port, "/livez")
        assert (status, body["alive"]) == (200, True)
        vitals.beat -= 31
        status, body = facts(port, "/livez")
        assert (status, body["alive"]) == (503, False)
        assert body["beat_seconds_ago"] >= 31


async def test_a_blocked_loop_is_told_by_503() -> None:
    """It is asked from the very thread that blocks: the answer comes all the same, and turns back when it may."""
    vitals = Vitals(beat=time.monotonic())

    async def beat() -> None:
        while True:
            vitals.beat = time.monotonic()
            await asyncio.sleep(0.01)

    beating = asyncio.create_task(beat())
    with serve_health(vitals, "127.0.0.1", 0, stale=1.0) as port:
        await asyncio.sleep(0.05)
        assert (await asyncio.to_thread(get, port, "/livez"))[0] == 200
        eventually(lambda: get(port, "/livez")[0] == 503)  # in the loop's thread
        await asyncio.sleep(0.05)
        assert (await asyncio.to_thread(get, port, "/livez"))[0] == 200
    beating.cancel()


@pytest.mark.parametrize("phase", Phase)
def test_liveness_does_not_depend_on_peers(phase: Phase) -> None:
    """A restart mends no peer: blocked for days, the process is alive."""
    vitals = Vitals(beat=time.monotonic(), polled_at=datetime(2020, 1, 1, tzinfo=UTC))
    vitals.enter(phase, "fhir at http://fhir.test does not answer (ConnectError)")
    with serve_health(vitals, "127.0.0.1", 0) as port:
        assert facts(port, "/livez")[0] == 200


# --- /readyz ---

READY = {Phase.STARTING: 503, Phase.ACTIVE: 200, Phase.STANDBY: 200, Phase.BLOCKED: 503}


@pytest.mark.parametrize(("phase", "status"), READY.items())
def test_ready_by_phase(phase: Phase, status: int) -> None:
    """Active and standing by are ready; starting and blocked are not, and say why."""
    vitals = Vitals()
    vitals.enter(phase, "because")
    with serve_health(vitals, "127.0.0.1", 0) as port:
        found, body = facts(port, "/readyz")
    assert (found, body["ready"], body["phase"], body["reason"]) == (status, status == 200, phase.value, "because")


def test_ready_tells_all_that_is_known() -> None:
    """What `status --json` knows too, in the same words."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    vitals = Vitals(source="http://dicom.test", phase=Phase.ACTIVE, since=moment, polled_at=moment)
    vitals.backlog = Backlog(Cursor(10, "2026-01-01T00:00:00Z"), Cursor(15), 2, 1, moment)
    assert health.summary(vitals, moment + timedelta(seconds=90)) == {
        "phase": "active",
        "reason": "",
        "since": "2026-01-01T00:00:00+00:00",
        "source": "http://dicom.test",
        "settled": 10,
        "latest": 15,
        "lag_entries": 5,
        "lag_seconds": 90.0,
        "polled_at": "2026-01-01T00:00:00+00:00",
        "parked": 2,
        "dead": 1,
        "oldest_parked_seconds": 90.0,
    }
    assert health.summary(Vitals(), moment)["polled_at"] is None


@pytest.mark.parametrize("path", ["/index.html", "/healthz", "/livez/x", "/metrics/"])
def test_other_paths_are_named(path: str) -> None:
    """Whoever guesses is told."""
    with serve_health(Vitals(), "127.0.0.1", 0) as port:
        status, body = facts(port, path)
    assert status == 404 and "/livez" in body["error"]


def test_a_query_makes_no_difference_and_nothing_can_be_posted() -> None:
    """Probes add things to URLs; nobody changes anything here."""
    with serve_health(Vitals(phase=Phase.ACTIVE), "127.0.0.1", 0) as port:
        assert get(port, "/readyz?verbose=1")[0] == 200
        assert get(port, "/readyz", "POST")[0] == 501


# --- The page ---


@pytest.mark.parametrize("path", ["/", "/status", "/status?x=1"])
def test_the_page_is_for_eyes_alone(path: str) -> None:
    """HTML that a browser may take nothing from elsewhere for, and that nobody keeps."""
    with serve_health(Vitals(phase=Phase.ACTIVE, beat=time.monotonic()), "127.0.0.1", 0) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert "At work" in answer.text


def test_the_page_says_that_the_loop_stands_still() -> None:
    """It is answered by a thread of its own."""
    with serve_health(Vitals(phase=Phase.ACTIVE, beat=time.monotonic() - 31), "127.0.0.1", 0) as port:
        assert b"Stuck" in get(port, "/")[1]


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/nowhere"])
def test_head_is_get_without_a_body(path: str) -> None:
    """Some monitors ask so."""
    with serve_health(Vitals(phase=Phase.ACTIVE, beat=time.monotonic()), "127.0.0.1", 0) as port:
        assert get(port, path, "HEAD") == (get(port, path)[0], b"")


# --- /metrics ---


class Counted:
    """A peer of which something is counted."""

    def __init__(self, peer: str, requests: int, retries: int) -> None:
        self.peer, self.requests, self.retries, self.trouble = peer, requests, retries, ""
        self.base_url, self.standing = f"http://{peer}.test", Standing()
        self.seconds = requests / 4


def exposed(name: str, kind: str, unit: str) -> str:
    """The name of an instrument in Prometheus' text format, as docs/reference/metrics.md explains it."""
    return name.replace(".", "_") + ("_seconds" if unit == "s" else "") + ("_total" if kind == "counter" else "")


def test_every_instrument_is_there_with_its_value() -> None:
    """Names as the reference page explains them, numbers as the vitals have them when asked."""
    moment = datetime.now(UTC)
    vitals = Vitals(peers=(Counted("dicom", 12, 3), Counted("fhir", 40, 0)), polled_at=moment, windows=7, leases_lost=2)
    vitals.enter(Phase.BLOCKED, "reason")
    reasons = {"conflict": 2, "refused": 1}
    vitals.backlog = Backlog(Cursor(10), Cursor(15), 2, 1, moment - timedelta(hours=1), reasons=reasons)
    for outcome in (Outcome.CREATED, Outcome.CREATED, Outcome.PARKED):
        vitals.report.count(outcome)
    for tag, rule in (("00100020", "missing"), ("00080020", "not-a-date"), ("00100020", "missing")):
        vitals.report.note(Issue(tag, rule))
    with serve_health(vitals, "127.0.0.1", 0) as port:
        found = samples(port)
        vitals.windows = 8
        assert samples(port)["dicomcast_windows_total"] == {(): 8}
    assert set(found) == {exposed(name, kind, unit) for name, kind, unit, _, _ in INSTRUMENTS}
    assert found["dicomcast_lag_entries"] == {(): 5}
    assert found["dicomcast_polled_seconds"] == {(): pytest.approx(moment.timestamp())}
    assert found["dicomcast_phase"] == {("starting",): 0, ("active",): 0, ("standby",): 0, ("blocked",): 1}
    assert (found["dicomcast_parked"], found["dicomcast_dead"]) == ({(): 2}, {(): 1})
    assert found["dicomcast_parked_oldest_seconds"][()] >= 3600
    assert found["dicomcast_parked_reasons"] == {("conflict",): 2, ("refused",): 1}
    assert found["dicomcast_studies_total"] == {
        (one.value,): {"created": 2, "parked": 1}.get(one, 0) for one in Outcome
    }
    assert found["dicomcast_issues_total"] == {("missing", "00100020"): 2, ("not-a-date", "00080020"): 1}
    assert found["dicomcast_windows_total"] == {(): 7}
    assert found["dicomcast_requests_total"] == {("dicom",): 12, ("fhir",): 40}
    assert found["dicomcast_retries_total"] == {("dicom",): 3, ("fhir",): 0}
    assert found["dicomcast_requests_time_seconds_total"] == {("dicom",): 3, ("fhir",): 10}
    assert found["dicomcast_lease_lost_total"] == {(): 2}
    assert found["dicomcast_lag_seconds"][()] >= 0


def test_what_cannot_be_measured_is_told_as_not_known() -> None:
    """Of an archive without a feed: null for programs, and no sample at all, which an alert would take for 0."""
    vitals = Vitals(phase=Phase.ACTIVE, polled_at=datetime.now(UTC))
    vitals.stock(Backlog(Cursor(10), Cursor(15), 2, 1, measurable=False))
    with serve_health(vitals, "127.0.0.1", 0) as port:
        status, said = facts(port, "/readyz")
        found = samples(port)
    assert (status, said["lag_entries"], said["lag_seconds"], said["parked"]) == (200, None, None, 2)
    assert not {"dicomcast_lag_entries", "dicomcast_lag_seconds"} & found.keys()
    assert (found["dicomcast_parked"], found["dicomcast_dead"]) == ({(): 2}, {(): 1})


def test_two_in_one_process_do_not_share_instruments() -> None:
    """A test, or somebody who embeds dicomcast, has its own registry."""
    with serve_health(Vitals(windows=1), "127.0.0.1", 0) as one, serve_health(Vitals(windows=2), "127.0.0.1", 0) as two:
        assert [samples(port)["dicomcast_windows_total"][()] for port in (one, two)] == [1, 2]


def test_without_the_extra_metrics_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """/livez and /readyz need nothing; /metrics answers 501 and a command."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.prometheus", None)
    with serve_health(Vitals(beat=time.monotonic(), phase=Phase.ACTIVE), "127.0.0.1", 0) as port:
        status, body = facts(port, "/metrics")
        assert status == 501 and "pip install '.[prometheus]' in a clone" in body["error"]
        assert [get(port, path)[0] for path in ("/livez", "/readyz")] == [200, 200]


# --- The port ---


def test_a_port_in_use_names_the_setting() -> None:
    """Another process has it, or the same one twice."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = f"HEALTH__PORT: cannot listen on 127.0.0.1 port {port}: .* in use"
        with pytest.raises(ConfigError, match=said), serve_health(Vitals(), "127.0.0.1", port):
            raise AssertionError("it listens")


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::1"])
def test_an_address_that_is_not_ours(address: str) -> None:
    """The same sentence, the same exit code."""
    said = f"HEALTH__PORT: cannot listen on {address} port 0"
    with pytest.raises(ConfigError, match=said), serve_health(Vitals(), address, 0):
        raise AssertionError("it listens")


def test_the_port_is_free_afterwards() -> None:
    """A second run in the same process gets it again."""
    with serve_health(Vitals(), "127.0.0.1", 0) as port:
        assert get(port, "/readyz")[0] == 503
    with serve_health(Vitals(), "127.0.0.1", port) as again:
        assert again == port


def test_an_address_of_ipv6() -> None:
    """Clusters without IPv4 set HEALTH__ADDRESS to `::`; where a machine has none, that is said."""
    try:
        with serve_health(Vitals(phase=Phase.ACTIVE), "::1", 0) as port:
            connection = http.client.HTTPConnection("::1", port, timeout=10)
            connection.request("GET", "/readyz")
            assert connection.getresponse().status == 200
            connection.close()
    except ConfigError as error:
        assert not socket.has_dualstack_ipv6() and "HEALTH__PORT: cannot listen on ::1" in str(error)


def test_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a resolver, as in many a container, a look-up would hold up the start for seconds."""

    def look_up(*_: object) -> str:
        raise AssertionError("a name is looked up")

    monkeypatch.setattr(socket, "getfqdn", look_up)
    with serve_health(Vitals(phase=Phase.ACTIVE), "0.0.0.0", 0) as port:
        assert get(port, "/readyz")[0] == 200


def workers() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_a_client_that_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds neither the others up nor a thread for ever."""
    assert 0 < health._Handler.timeout <= 60
    monkeypatch.setattr(health._Handler, "timeout", 0.2)
    with serve_health(Vitals(phase=Phase.ACTIVE), "127.0.0.1", 0) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
            assert get(port, "/readyz")[0] == 200
            assert silent.recv(1) == b""
        eventually(lambda: workers() == 0)


def test_a_client_that_hangs_up_leaves_no_noise(capfd: pytest.CaptureFixture[str]) -> None:
    """Probes run into their time-out; that is no traceback in our log."""
    with serve_health(Vitals(phase=Phase.ACTIVE), "127.0.0.1", 0) as port:
        for request in [b"GET /metrics HTTP/1.0\r\n\r\n", b"GET /rea", b""] * 4:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(request)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            eventually(lambda: workers() == 0)
        assert get(port, "/readyz")[0] == 200
    assert capfd.readouterr() == ("", "")


# --- A worker ---


class Away:
    """An archive that may be away."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.away = False

    async def __call__(self, *arguments: Any) -> None:
        if self.away:
            raise httpx.ConnectError("no route to host")
        await self.app(*arguments)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the worker."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (numbers have no events)
            await asyncio.sleep(0.01)


async def test_a_silent_feed_and_a_worker_that_stands_still_look_different() -> None:
    """`polled` moves while nothing new comes; it stands still, and the lag grows, when the archive is away."""
    harness = Harness()
    harness.dicom_app = away = Away(harness.dicom_app)
    harness.restart()
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientID="Roentgen-4711", PatientName="Roentgen")
    vitals = Vitals(source=harness.feed.source, peers=(harness.dicom, harness.server))
    harness.count = vitals.report.count
    app = App(
        feed=harness.feed,
        fhir=harness.fhir,
        store=harness.state,
        tenure=harness.tenure,
        synchronizer=harness.synchronizer,
        vitals=vitals,
        start="beginning",
        give_up=harness.dicom.give_up,
    )
    worker = Worker(app, poll_interval=timedelta(milliseconds=50))
    harness.now += timedelta(minutes=5)
    with serve_health(vitals, "127.0.0.1", 0) as port:

        async def polled() -> float:
            return (await asyncio.to_thread(samples, port))["dicomcast_polled_seconds"][()]

        running = asyncio.create_task(worker.run(Job(once=False)))
        await until(lambda: vitals.polled_at is not None)
        first = await polled()
        await until(lambda: vitals.polled_at is not None and vitals.polled_at.timestamp() > first)
        assert await polled() > first
        assert (await asyncio.to_thread(get, port, "/livez"))[0] == 200
        assert (await asyncio.to_thread(get, port, "/readyz"))[0] == 200

        away.away = True
        await until(lambda: vitals.phase is Phase.BLOCKED)
        last, asked = await polled(), harness.dicom.requests
        await until(lambda: harness.dicom.requests > asked + 3)
        found = await asyncio.to_thread(samples, port)
        assert found["dicomcast_polled_seconds"][()] == last
        assert found["dicomcast_lag_seconds"][()] > 0
        assert (await asyncio.to_thread(get, port, "/livez"))[0] == 200
        status, body = await asyncio.to_thread(facts, port, "/readyz")
        assert (status, body["phase"]) == (503, "blocked") and "dicom" in body["reason"]

        away.away = False
        await until(lambda: vitals.phase is Phase.ACTIVE and vitals.polled_at.timestamp() > last)
        said = (await asyncio.to_thread(get, port, "/metrics"))[1] + (await asyncio.to_thread(get, port, "/readyz"))[1]
        worker.stop()
        await running
    assert b"Roentgen" not in said and b"1.2.1" not in said
    assert b'outcome="created"} 1.0' in said
    await harness.close()
