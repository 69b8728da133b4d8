"""Write the tables that the mapping has from pydicom: `python tools/extract.py [--check]`.

Importing pydicom takes longer than to read a feed that has nothing new, and a CronJob pays for it each time. So what
the mapping needs of it is extracted into `dicomcast/mapping/data/`; `make check` compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydicom import __version__
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import DicomDictionary
from pydicom.sr._snomed_dict import mapping
from pydicom.sr.codedict import Collection

FOLDER = Path(__file__).parents[1] / "dicomcast/mapping/data"


def tables() -> dict[str, tuple[str, dict[str, Any]]]:
    """The name of each table, what it is, and its rows."""
    return {
        "dictionary": (
            "PS3.6: the VR, the VM and the keyword of each tag.",
            {f"{tag:08X}": [vr, vm, keyword] for tag, (vr, vm, _, _, keyword) in sorted(DicomDictionary.items())},
        ),
        "sop_classes": (
            "PS3.6 Annex A: the keyword of each SOP class.",
            {uid: keyword for uid, (_, kind, *_, keyword) in sorted(UID_dictionary.items()) if kind == "SOP Class"},
        ),
        "modality_codes": (
            "PS3.16 CID 33: the meaning of each modality, and whether CID 29 has it, so that it acquires images or "
            "signals.",
            _modalities(),
        ),
        "regions": (
            "PS3.16 CID 4031, and what else CID 4 has: the code and the meaning of an anatomic region by its keyword.",
            {**_regions("CID4"), **_regions("CID4031")},
        ),
        "snomed_rt": (
            "PS3.16 Annex O: the SNOMED CT concept of each SNOMED RT code",
            dict(sorted(mapping["SRT"].items())),
        ),
    }


def _modalities() -> dict[str, list[Any]]:
    acquired = {code.value for code in Collection("CID29").concepts.values()}
    return {code.value: [code.meaning, code.value in acquired] for code in Collection("CID33").concepts.values()}


def _regions(cid: str) -> dict[str, list[str]]:
    return {keyword.upper(): [code.value, code.meaning] for keyword, code in Collection(cid).concepts.items()}


def page(about: str, rows: dict[str, Any]) -> str:
    """A table as its file has it, one row a line."""
    source = json.dumps(f"pydicom {__version__}, by tools/extract.py")
    lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in rows.items())
    return f'{{\n  "source": {source},\n  "about": {json.dumps(about)},\n  "rows": {{\n{lines}\n  }}\n}}\n'


def main(check: bool) -> int:
    """Write the tables, or say which of them are not what pydicom has."""
    stale = []
    for name, (about, rows) in tables().items():
        file, text = FOLDER / f"{name}.json", page(about, rows)
        if check and (not file.exists() or file.read_text("utf-8") != text):
            stale.append(file.name)
        elif not check:
            file.write_text(text, "utf-8")
    if stale:
        print(f"{', '.join(stale)}: not what pydicom {__version__} has; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
