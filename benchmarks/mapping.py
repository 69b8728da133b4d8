"""What mapping and merging a study costs, beside pydicom's `Dataset.from_json` of the same metadata, in one run."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pydicom

from dicomcast.mapping.rules import Rules
from dicomcast.mapping.table import select
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Instance, InstanceKey, StudyDelta, StudyKey

INSTANCES = 2000
# Enough of them for pydicom, which takes its time.
SAMPLE = 200


def best(work: Callable[[], object], repeats: int = 5) -> float:
    """The least of some runs, in seconds of the processor: what else the machine does is no matter."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    file = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    one = pydicom.dcmread(file, stop_before_pixels=True).to_json()
    metadata = []
    for number in range(INSTANCES):
        each = json.loads(one)  # as a server sends them: no instance shares a value with another
        each["00080018"] = {"vr": "UI", "Value": [f"1.2.1.{number}"]}
        metadata.append(each)

    key, rules = StudyKey("http://archive", "", "1.2"), Rules("urn:oid:2.25.1")

    def read() -> dict[InstanceKey, Instance]:
        keys = (InstanceKey("1.2.1", f"1.2.1.{number}") for number in range(INSTANCES))
        return {each: Instance(each, select(one)) for each, one in zip(keys, metadata, strict=True)}

    held = read()

    def cast() -> None:
        content = draft(None, StudyDelta(key, held, snapshot=True), rules, "Endpoint/1")
        merge_study(None, content, key, rules, Links(None, "Endpoint/1", "http://archive"), "1")

    def models() -> None:
        for each in metadata[:SAMPLE]:
            pydicom.Dataset.from_json(each)

    ours = best(cast)
    costs = {"map and merge": ours, "select what is mapped": best(read)}
    costs["Dataset.from_json"] = best(models, 1) * INSTANCES / SAMPLE
    sys.stdout.write(f"A study of {INSTANCES} instances, {len(metadata[0])} attributes each\n")
    for what, seconds in costs.items():
        sys.stdout.write(f"  {what:21} {seconds * 1e6 / INSTANCES:9.1f} ms per 1,000 instances {seconds / ours:7.1f}\n")


if __name__ == "__main__":
    main()
