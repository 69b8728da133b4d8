"""What a kubelet does with a pod, as far as it matters here: variables, arguments, files and probes of a container."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.chart.rendered import Rendered

__all__ = ["Pod", "consequence", "pod_of"]


@dataclass(frozen=True, slots=True)
class Pod:
    """A container that is to be started: its mounts are folders below `folder`, and what names them names these."""

    arguments: list[str]
    environ: dict[str, str]
    spec: dict[str, Any]
    container: dict[str, Any]

    def probe(self, kind: str) -> int:
        """The status that a probe gets; it passes from 200 up to 399. 0 while nobody listens."""
        get = self.container[f"{kind}Probe"]["httpGet"]
        [port] = [one["containerPort"] for one in self.container["ports"] if one["name"] == get["port"]]
        return _status(f"http://127.0.0.1:{port}{get['path']}")


def _status(url: str) -> int:
    try:
        with urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


def pod_of(
    template: Mapping[str, Any], rendered: Rendered, folder: Path, secrets: Mapping[str, Mapping[str, str]]
) -> Pod:
    """The only container of a pod's template; `secrets` are those of the namespace."""
    spec = template["spec"]
    [container] = spec["containers"]
    configs = {one["metadata"]["name"]: one["data"] for one in rendered.all("ConfigMap")}
    environ: dict[str, str] = {}
    for source in container["envFrom"]:
        environ |= configs[source["configMapRef"]["name"]]
    environ |= {one["name"]: one["value"] for one in container.get("env", [])}
    volumes = {one["name"]: one for one in spec.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        place = folder / mount["name"]
        place.mkdir(exist_ok=True)
        if secret := volumes[mount["name"]].get("secret"):
            for name, text in secrets[secret["secretName"]].items():
                (place / name).write_text(text, "utf-8")
        environ = {name: value.replace(mount["mountPath"], str(place)) for name, value in environ.items()}
    return Pod(container["args"], {"PATH": os.environ["PATH"], **environ}, spec, container)


def consequence(job: Mapping[str, Any], code: int) -> str:
    """What the Job controller does about an exit code: `Complete`, or the first rule's action, or else `Count`."""
    if code == 0:
        return "Complete"
    for rule in job["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes and (code in codes["values"]) == (codes["operator"] == "In"):
            return str(rule["action"])
    return "Count"
