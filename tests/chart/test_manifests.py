"""What is rendered: valid for three versions of Kubernetes whatever the values, hardened, and as it was reviewed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendered import Helm, Rendered, merged
from tests.chart.snapshots import FILES, snapshot, snapshot_file

# Objects that Kubernetes has no schema for: those of Prometheus Operator.
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
SHARED = {"settings": {"state": {"url": "postgresql://state.example.com:5433/dicomcast"}}}
WATCHED = {name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")}

MODES: dict[str, dict[str, Any]] = {"deployment": {}, "cronjob": {"mode": "cronjob", "cronjob": {"timeZone": "UTC"}}}
STATES: dict[str, dict[str, Any]] = {
    "sqlite": {"persistence": {"storageClass": "fast"}},
    "claim": {"persistence": {"existingClaim": "state"}},
    "shared": SHARED,
    "standby": merged(SHARED, {"standby": True}),
}
EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rich": {
        "secrets": {"existingSecret": "passwords"},
        "imagePullSecrets": [{"name": "registry"}],
        "workloadIdentity": {"enabled": True, "clientId": "an-id"},
        "serviceAccount": {"annotations": {"a": "b"}},
        "metrics": WATCHED,
        "replay": {"from": 5, "study": ["1.2.3"]},
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "imaging", "operator": "Exists"}],
        "priorityClassName": "high",
        "podLabels": {"team": "imaging"},
        "podAnnotations": {"note": "text"},
        "networkPolicy": {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "from": [{"podSelector": {}}]},
    },
    "bare": {
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
        "resources": {"limits": None, "requests": None},
        "fullnameOverride": "a-name-that-is-longer-than-what-kubernetes-allows-for-a-cronjob",
    },
}


@pytest.mark.parametrize(("mode", "state", "extra"), [*product(MODES, STATES, EXTRAS)])
def test_whatever_the_values_it_is_valid(helm: Helm, mode: str, state: str, extra: str) -> None:
    """For each version of Kubernetes, unknown fields included; and no two objects have one name."""
    rendered = helm.render(MODES[mode], STATES[state], EXTRAS[extra])
    assert rendered.refused == ""
    names = [(one["kind"], one["metadata"]["name"]) for one in rendered.objects]
    assert len(set(names)) == len(names) >= 2
    assert all(len(name) <= (52 if kind == "CronJob" else 63) for kind, name in names)
    for one in rendered.objects:
        if one["kind"] not in FOREIGN:
            assert helm.problems(one) == [], one["kind"]


def test_a_field_that_is_not_known_is_not_valid(helm: Helm) -> None:
    """The judge of the test above has eyes."""
    job = helm.render(EXTRAS["rich"]).one("Job")
    job["spec"]["backofLimit"] = 3
    assert len(helm.problems(job)) == 3


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_snapshots(helm: Helm, values: Path) -> None:
    """As it was reviewed: after a change, `python -m tests.chart.snapshots`, and look at the difference."""
    assert snapshot(helm, values) == snapshot_file(values).read_text("utf-8")


def pods(rendered: Rendered) -> Iterator[dict[str, Any]]:
    """The specs of all pods, of whatever they are part."""
    for one in rendered.objects:
        match one["kind"]:
            case "Deployment" | "Job":
                yield one["spec"]["template"]["spec"]
            case "CronJob":
                yield one["spec"]["jobTemplate"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("mode", MODES)
def test_pods_may_do_little(helm: Helm, mode: str) -> None:
    """What the restricted Pod Security Standard asks for, and a read-only root and no token besides."""
    rendered = helm.render(MODES[mode], {"replay": {"from": 1}})
    assert len(list(pods(rendered))) == 2
    for pod in pods(rendered):
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "hostPath" not in json.dumps(pod)
    assert rendered.one("ServiceAccount")["automountServiceAccountToken"] is False


def test_a_workload_identity_has_a_token(helm: Helm) -> None:
    """And nobody else."""
    rendered = helm.render({"workloadIdentity": {"enabled": True, "clientId": "an-id"}})
    template = rendered.one("Deployment")["spec"]["template"]
    assert template["spec"]["automountServiceAccountToken"] is True
    assert template["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert rendered.one("ServiceAccount")["metadata"]["annotations"]["azure.workload.identity/client-id"] == "an-id"


@pytest.mark.parametrize("state", STATES)
def test_only_sqlite_has_a_volume(helm: Helm, state: str) -> None:
    """A claim of its own or one that exists; then one pod ends before the next one starts."""
    rendered = helm.render(STATES[state])
    claims = [one["metadata"]["name"] for one in rendered.all("PersistentVolumeClaim")]
    assert claims == (["dicomcast"] if state == "sqlite" else [])
    spec = rendered.one("Deployment")["spec"]
    volumes = [one["persistentVolumeClaim"]["claimName"] for one in spec["template"]["spec"].get("volumes", [])]
    assert volumes == {"sqlite": ["dicomcast"], "claim": ["state"]}.get(state, [])
    assert spec["strategy"]["type"] == ("Recreate" if volumes else "RollingUpdate")
    assert spec["replicas"] == (2 if state == "standby" else 1)
    assert len(rendered.all("PodDisruptionBudget")) == (state == "standby")


def test_a_change_of_a_setting_starts_pods_anew(helm: Helm) -> None:
    """By the checksum, and nothing else does."""

    def template(**values: Any) -> dict[str, Any]:
        found: dict[str, Any] = helm.render(values).one("Deployment")["spec"]["template"]
        return found

    first = template()
    assert template(metrics=WATCHED) == first
    changed = template(settings={"worker": {"poll_interval": "10s"}})
    assert changed["metadata"].pop("annotations") != first["metadata"].pop("annotations")
    assert changed == first


def test_pods_reach_the_peers_alone(helm: Helm) -> None:
    """Name servers, and the ports of what they call; where a client reaches the archive is not their business."""
    peers = {
        "dicom": {"url": "http://orthanc:8042", "public_url": "https://pacs.example.com:8443"},
        "fhir": {"url": "https://fhir.example.com"},
    }
    egress = helm.render(SHARED, {"settings": peers}).one("NetworkPolicy")["spec"]["egress"]
    assert [sorted(port["port"] for port in rule["ports"]) for rule in egress] == [[53, 53], [443, 5433, 8042]]
    collector = {"extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}]}
    ports = helm.render(collector).one("NetworkPolicy")["spec"]["egress"][1]["ports"]
    assert sorted(port["port"] for port in ports) == [443, 4318]
    inside = {"networkPolicy": {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}}
    assert helm.render(inside).one("NetworkPolicy")["spec"]["egress"][1]["to"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]


def test_nobody_reaches_a_job(helm: Helm) -> None:
    """It has no port."""
    policy = helm.render({"mode": "cronjob"}).one("NetworkPolicy")["spec"]
    assert "Ingress" in policy["policyTypes"] and "ingress" not in policy


def test_a_replay_goes_where_the_volume_is(helm: Helm) -> None:
    """A volume that one node may mount is of no use on another; without one it may run anywhere."""
    replay = {"replay": {"from": 5}}
    pod = helm.render(replay).one("Job")["spec"]["template"]["spec"]
    [term] = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    worker = helm.render().one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= worker.items()
    for other in (SHARED, {"mode": "cronjob"}):
        assert "affinity" not in helm.render(other, replay).one("Job")["spec"]["template"]["spec"]


def test_another_replay_is_another_job(helm: Helm) -> None:
    """Nothing of a Job can be changed, so what differs has another name, and what is the same has not."""
    variants = [{"replay": {"from": 5}}, {"replay": {"from": 6}}, {"replay": {"from": 5, "attempt": 2}}]
    variants += [{"replay": {"from": 5}, "image": {"tag": "2"}}, {"replay": {"from": 5}}]
    names = [helm.render(values).one("Job")["metadata"]["name"] for values in variants]
    assert len(set(names)) == 4 and names[0] == names[-1]


def test_the_replay_that_the_notes_show(helm: Helm) -> None:
    """What `--set` makes of the option there is what the template wants."""
    assert "--set 'replay.study={UID}'" in helm.render().notes
    job = helm.render(helm.values_of("replay.study={1.2.840.10008,1.2.3}")).one("Job")
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[-4:] == ["--replay-study", "1.2.840.10008", "--replay-study", "1.2.3"]
