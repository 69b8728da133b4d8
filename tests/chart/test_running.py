"""Each mode started as it was rendered: variables, arguments and secret files of the manifest, and the real command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest

from dicomcast import worker
from tests.chart.pods import Pod, consequence, pod_of
from tests.chart.rendered import Helm, merged
from tests.cli.test_docs import ERRORS, cells
from tests.faults import Fault, Gate, refuse
from tests.harness import SYSTEM
from tests.history import idle_versions
from tests.servers import free_port
from tests.servers.embedded import Embedded, Running, until

pytestmark = pytest.mark.long

TOKEN = "a-token-from-a-file"
STUDIES = [f"1.2.{number}" for number in range(3)]
Start = Callable[..., Pod]


@pytest.fixture
def pod(helm: Helm, embedded: Embedded, tmp_path: Path) -> Start:
    """Renders the pod of a kind of object, on the embedded servers, with a token in a Secret."""

    def rendered(kind: str, **values: Any) -> Pod:
        peers = {
            "settings": {
                "dicom": {"url": embedded.dicom_url, "safety_lag": "0s"},
                "fhir": {"url": embedded.fhir_url, "auth": {"kind": "bearer"}},
                "patient": {"system": SYSTEM},
                "worker": {"retry_budget": "0s", "poll_interval": "1h", "window": 1},
                "health": {"port": free_port(), "address": "127.0.0.1"},
            },
            "secrets": {"existingSecret": "dicomcast"},
        }
        objects = helm.render(merged(peers, values))
        assert objects.refused == ""
        spec = objects.one(kind)["spec"]
        template = spec["jobTemplate"]["spec"]["template"] if kind == "CronJob" else spec["template"]
        return pod_of(template, objects, tmp_path, {"dicomcast": {"DICOMCAST_FHIR__AUTH__TOKEN": TOKEN + "\n"}})

    return rendered


@pytest.fixture(autouse=True)
def three_windows(embedded: Embedded, tmp_path: Path) -> None:
    """Three studies, so far apart in the feed that each is a window of its own; the state is on the pod's volume."""
    embedded.folder = tmp_path / "state"
    embedded.folder.mkdir()
    for study in STUDIES:
        embedded.put(study)
        embedded.archive.skip_sequences(100)


def start(embedded: Embedded, pod: Pod) -> Running:
    """Start the container."""
    return embedded.launch(pod.arguments, pod.environ)


def is_right(embedded: Embedded) -> None:
    """FHIR holds the studies, nothing was written twice, and every request had the token of the Secret."""
    assert sorted(embedded.studies()) == STUDIES
    assert idle_versions(embedded.store) == []
    assert set(embedded.fhir.callers) == {f"Bearer {TOKEN}"}


def test_a_deployment(embedded: Embedded, pod: Start) -> None:
    """It casts, its probes pass, and on SIGTERM it ends with 0, without its lease."""
    deployed = pod("Deployment")
    running = start(embedded, deployed)
    until("the probes pass", lambda: all(deployed.probe(kind) == 200 for kind in ("startup", "liveness", "readiness")))
    until("the feed is read to its end", lambda: embedded.cursor[0] == 203)
    running.signal(SIGTERM)
    assert running.finish().code == 0
    assert embedded.query("SELECT owner FROM lease WHERE expires_at > strftime('%Y-%m-%dT%H:%M:%S', 'now')") == []
    is_right(embedded)


def test_a_deployment_whose_peer_is_away(embedded: Embedded, pod: Start) -> None:
    """It is alive and not ready, so that it is not restarted for what a restart does not mend."""
    embedded.fhir.always(refuse(503))
    deployed = pod("Deployment")
    running = start(embedded, deployed)
    until("it waits for the next poll", lambda: "worker.blocked" in running.said)
    assert [deployed.probe(kind) for kind in ("startup", "liveness", "readiness")] == [200, 200, 503]
    running.signal(SIGTERM)
    assert running.finish().code == 0


def test_a_standby(embedded: Embedded, pod: Start) -> None:
    """Both pods are ready, one of them casts; when it ends, the other one goes on at once."""
    store = [{"name": "DICOMCAST_STATE__URL", "value": f"sqlite:///{embedded.state}"}]  # here, one that both reach
    settings = {"worker": {"poll_interval": "1s"}}
    first, second = (pod("Deployment", standby=True, extraEnv=store, settings=settings) for _ in range(2))
    active = start(embedded, first)
    until("the first one has cast", lambda: embedded.cursor[0] == 203)
    waiting = start(embedded, second)
    until("the second one stands by", lambda: "worker.standby" in waiting.said)
    assert first.probe("readiness") == second.probe("readiness") == 200
    active.signal(SIGTERM)
    assert active.finish().code == 0
    embedded.put("1.2.3")
    until("the second one casts", lambda: "1.2.3" in embedded.studies())
    waiting.signal(SIGTERM)
    assert waiting.finish().code == 0
    assert idle_versions(embedded.store) == []


def test_sigterm_in_the_middle_of_a_transaction(embedded: Embedded, pod: Start) -> None:
    """The window in hand is finished within the grace period, and the next pod goes on behind it."""
    gate = Gate()
    embedded.fhir.script(Fault(), Fault(gate=gate), on="POST /fhir/?$")  # the first one makes the Endpoint
    first = pod("Deployment")
    assert first.spec["terminationGracePeriodSeconds"] > worker._GRACE
    running = start(embedded, first)
    assert gate.arrived.wait(30)
    running.signal(SIGTERM)
    until("the signal is heard", lambda: "worker.stopping" in running.said)
    gate.opened.set()
    assert running.finish().code == 0
    assert (list(embedded.studies()), embedded.cursor[0]) == (STUDIES[:1], 1)
    successor = start(embedded, pod("Deployment"))
    until("the rest is cast", lambda: embedded.cursor[0] == 203)
    successor.signal(SIGTERM)
    assert successor.finish().code == 0
    is_right(embedded)


def test_a_cronjob(embedded: Embedded, pod: Start) -> None:
    """A run settles what is there; the next one has nothing to do."""
    run = pod("CronJob", mode="cronjob")
    assert start(embedded, run).finish().code == 0
    assert embedded.cursor[0] == 203
    embedded.fhir.requests.clear()
    assert start(embedded, run).finish().code == 0
    assert embedded.fhir.requests and all(one.startswith("GET ") for one in embedded.fhir.requests)
    is_right(embedded)


def test_a_cronjob_that_overlaps_a_living_one(embedded: Embedded, helm: Helm, pod: Start) -> None:
    """`kubectl create job --from` beside it: the second waits, and leaves with 77 and nothing done; no retry."""
    gate = Gate()
    embedded.fhir.script(Fault(), Fault(gate=gate), on="POST /fhir/?$")
    first = start(embedded, pod("CronJob", mode="cronjob"))
    assert gate.arrived.wait(30)
    sent = len(embedded.fhir.requests)
    second = start(embedded, pod("CronJob", mode="cronjob", cronjob={"maxDuration": "2s"})).finish()
    assert second.code == 77 and "is active on this source" in second.err
    assert len(embedded.fhir.requests) == sent
    job = helm.render({"mode": "cronjob"}).one("CronJob")["spec"]["jobTemplate"]["spec"]
    assert consequence(job, second.code) == "FailJob"
    gate.opened.set()
    assert first.finish().code == 0
    is_right(embedded)


def test_a_cronjob_behind_one_that_was_killed(embedded: Embedded, pod: Start) -> None:
    """It waits until the lease of the dead has run out, and does what was left."""
    gate = Gate()
    embedded.fhir.script(Fault(), Fault(gate=gate), on="POST /fhir/?$")
    settings = {"worker": {"lease": "2s"}}
    first = start(embedded, pod("CronJob", mode="cronjob", settings=settings))
    assert gate.arrived.wait(30)
    first.process.send_signal(SIGKILL)
    first.finish()
    gate.opened.set()
    assert start(embedded, pod("CronJob", mode="cronjob", settings=settings)).finish().code == 0
    is_right(embedded)


def test_a_replay(embedded: Embedded, pod: Start) -> None:
    """A stretch of the feed and a study once more; the cursor stays where it was."""
    assert start(embedded, pod("CronJob", mode="cronjob")).finish().code == 0
    cursor = embedded.cursor
    for study in embedded.studies().values():
        embedded.store.delete("ImagingStudy", study["id"])
    job = pod("Job", replay={"from": 1, "to": 150, "study": STUDIES[2:]})
    assert start(embedded, job).finish().code == 0
    assert sorted(embedded.studies()) == STUDIES
    assert embedded.cursor == cursor


def test_a_replay_beside_a_deployment(embedded: Embedded, pod: Start) -> None:
    """Each study has one writer: the Job hands it to the worker, which casts it at its next poll."""
    settings = {"worker": {"poll_interval": "1s", "lease": "3s"}}
    running = start(embedded, pod("Deployment", settings=settings))
    until("the feed is read to its end", lambda: embedded.cursor[0] == 203)
    embedded.store.delete("ImagingStudy", embedded.studies()[STUDIES[0]]["id"])
    ended = start(embedded, pod("Job", settings=settings, replay={"study": STUDIES[:1]})).finish()
    assert ended.code == 0 and "1 handed to the active worker" in ended.err
    until("the worker casts it", lambda: sorted(embedded.studies()) == STUDIES)
    running.signal(SIGTERM)
    assert running.finish().code == 0


@pytest.mark.parametrize(
    ("status", "settings", "code", "action"),
    [
        (401, {}, 77, "FailJob"),
        (200, {"patient": {"system": "no-uri"}}, 78, "FailJob"),
        (503, {}, 75, "Count"),
    ],
    ids=["credentials", "setting", "peer away"],
)
def test_exit_codes_drive_the_failure_policy(
    embedded: Embedded, helm: Helm, pod: Start, status: int, settings: dict[str, Any], code: int, action: str
) -> None:
    """What somebody has to act on is not tried again; a peer that is away is."""
    if status != 200:
        embedded.fhir.always(refuse(status))
    values = {"mode": "cronjob", "settings": settings, "cronjob": {"maxDuration": "1s"}}
    ended = start(embedded, pod("CronJob", **values)).finish()
    assert ended.code == code, ended.err
    job = helm.render(values).one("CronJob")["spec"]["jobTemplate"]["spec"]
    assert consequence(job, code) == action


def test_the_failure_policy_is_what_is_documented(helm: Helm) -> None:
    """Of the codes that a run or a replay ends with: what the page tells, the Jobs do."""
    wanted = {"do not retry": "FailJob", "act first": "FailJob", "retry once": "Count", "retry with backoff": "Count"}
    told = {int(row[0].strip("`")): wanted[row[2]] for row in cells(ERRORS, "Exit codes") if row[2:]}
    assert set(told) == {1, 2, 70, 75, 77, 78}
    cronjob = helm.render({"mode": "cronjob"}).one("CronJob")["spec"]["jobTemplate"]["spec"]
    replay = helm.render({"replay": {"from": 1}}).one("Job")["spec"]
    for job in (cronjob, replay):
        assert {code: consequence(job, code) for code in told} == told
