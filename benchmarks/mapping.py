"""What mapping and merging a study costs, beside pydicom's `Dataset.from_json` of the same metadata, in one run."""

from __future__ import annotations

import copy
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


def best(work: Callable[[], object], repeats: int = 3) -> float:
    """The least of some runs, in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    file = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    one = pydicom.dcmread(file, stop_before_pixels=True).to_json_dict()
    metadata = []
    for number in range(INSTANCES):
        each = copy.copy(one)
        each["00080018"] = {"vr": "UI", "Value": [f"1.2.1.{number}"]}
        metadata.append(each)

    def cast() -> None:
        instances = {
            (key := InstanceKey("1.2.1", f"1.2.1.{number}")): Instance(key, select(each))
            for number, each in enumerate(metadata)
        }
        key = StudyKey("http://archive", "", "1.2")
        rules = Rules("urn:oid:2.25.1")
        content = draft(None, StudyDelta(key, instances, snapshot=True), rules, "Endpoint/1")
        merge_study(None, content, key, rules, Links(None, "Endpoint/1", "http://archive"), "1")

    def models() -> None:
        for each in metadata:
            pydicom.Dataset.from_json(each)

    ours, theirs = best(cast), best(models, 1)
    sys.stdout.write(f"{INSTANCES} instances of one study ({len(one)} attributes each)\n")
    sys.stdout.write(f"  select, map, merge  {ours * 1e6 / INSTANCES:8.1f} us an instance   1.0\n")
    sys.stdout.write(f"  Dataset.from_json   {theirs * 1e6 / INSTANCES:8.1f} us an instance   {theirs / ours:.0f}\n")


if __name__ == "__main__":
    main()
