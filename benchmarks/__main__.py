"""`python -m benchmarks [--full] [--write]`: measure, print the tables, and write them into the documentation."""

from __future__ import annotations

import argparse
import re
import sys

from benchmarks.report import report
from benchmarks.servers import ROOT
from benchmarks.suite import measure
from benchmarks.workloads import Sizes, workloads

_PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
_MARKED = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- /measured -->)", re.DOTALL)


def main() -> None:
    """What came out decides nothing: the machine may be busy."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="scale nothing: the predecessor does all of the work")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {_PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    works = workloads(Sizes())
    tables = report(measure(works, full=options.full, tell=lambda line: print(line, file=sys.stderr)), works)
    print(tables)
    if options.write:
        page = _PAGE.read_text("utf-8")
        _PAGE.write_text(_MARKED.sub(lambda _: f"\n{tables}\n\n", page), "utf-8")


if __name__ == "__main__":
    main()
