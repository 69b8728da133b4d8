"""The mapping by example: each of tests/golden is metadata, as an archive sends them, and the Bundle that `run` writes.

The Bundle is of R4, and of R4B, which is the same; what an R5 server gets of it is in tests/golden/r5.
`python -m tests.golden_files` writes what has changed anew: the Bundles, and the issues. The rest is written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dicomcast.app import rules
from dicomcast.dicom.files import instance_of
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.table import select
from dicomcast.model import Issue
from dicomcast.offline import bundle_of
from dicomcast.settings import load_offline_settings
from dicomcast.versions import R4, R5, Version

__all__ = ["ARCHIVE", "CASES", "GOLDEN", "mapped", "mapped_r5", "rules_of", "written"]

GOLDEN = Path(__file__).parent / "golden"
CASES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(GOLDEN.glob("*.json"))}
ARCHIVE = "https://dicom.example"


def rules_of(case: dict[str, Any]) -> Rules:
    """The site that a case is about, by its settings."""
    settings = load_offline_settings({f"DICOMCAST_{name}": value for name, value in case["settings"].items()})
    return rules(settings.patient, settings.mapping)


def mapped(case: dict[str, Any], order: int = 1, version: Version = R4) -> dict[str, Any]:
    """The case as it is now, its instances taken forwards (1) or backwards (-1)."""
    instances = [instance_of(select(metadata)) for metadata in case["metadata"]]
    bundle, issues = bundle_of(instances[::order], rules_of(case), archive=ARCHIVE, version=version)
    return {**case, "bundle": bundle, "issues": sorted({_line(one) for some in issues.values() for one in some})}


def mapped_r5(case: dict[str, Any]) -> str:
    """The text of its file in tests/golden/r5."""
    return written(mapped(case, version=R5)["bundle"]) + "\n"


def _line(issue: Issue) -> str:
    return f"{issue.severity}: {issue.tag} {issue.rule}"


def written(node: Any, indent: str = "", taken: int = 0) -> str:
    """JSON for readers: what fits on a line stands on one."""
    line = json.dumps(node, ensure_ascii=False)
    if not isinstance(node, dict | list) or (indent and len(indent) + taken + len(line) < 118):
        return line
    inner = f"{indent}  "
    if isinstance(node, list):
        rows = [inner + written(item, inner) for item in node]
    else:
        names = {name: json.dumps(name, ensure_ascii=False) for name in node}
        rows = [f"{inner}{quoted}: {written(node[name], inner, len(quoted) + 2)}" for name, quoted in names.items()]
    first, last = "[]" if isinstance(node, list) else "{}"
    return f"{first}\n" + ",\n".join(rows) + f"\n{indent}{last}"


def main() -> None:
    """Write what has changed."""
    for name, case in CASES.items():
        for file, text in ((f"{name}.json", written(mapped(case)) + "\n"), (f"r5/{name}.json", mapped_r5(case))):
            path = GOLDEN / file
            if not path.exists() or path.read_text("utf-8") != text:
                path.write_text(text, "utf-8")
                print(f"tests/golden/{file} written")


if __name__ == "__main__":
    main()
