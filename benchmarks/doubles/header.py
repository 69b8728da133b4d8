"""The metadata of an instance, as an archive sends a CT header: some sixty attributes, 3 KB of DICOM JSON.

Prepared as text with places for what differs from instance to instance, so that an entry costs a microsecond.
"""

from __future__ import annotations

from typing import Any

import orjson

__all__ = ["TEMPLATE"]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"

# Tag, VR, values. `%(name)s` is a place to fill; one in a number's stead is written without quotes.
_ATTRIBUTES: list[tuple[str, str, list[Any]]] = [
    ("00080005", "CS", ["ISO_IR 192"]),
    ("00080008", "CS", ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]),
    ("00080016", "UI", [CT_IMAGE]),
    ("00080018", "UI", ["%(instance)s"]),
    ("00080020", "DA", ["20240715"]),
    ("00080021", "DA", ["20240715"]),
    ("00080023", "DA", ["20240715"]),
    ("00080030", "TM", ["083117.250"]),
    ("00080031", "TM", ["083402.120"]),
    ("00080033", "TM", ["083412.%(number)s"]),
    ("00080050", "SH", ["A%(study_number)s"]),
    ("00080060", "CS", ["CT"]),
    ("00080070", "LO", ["Made-up Imaging"]),
    ("00080080", "LO", ["General Hospital"]),
    ("00080081", "ST", ["1 Main Street"]),
    ("00080090", "PN", [{"Alphabetic": "Referrer^Rita^^Dr."}]),
    ("00080201", "SH", ["+0200"]),
    ("00081010", "SH", ["CTAWP12345"]),
    ("00081030", "LO", ["CT thorax and abdomen"]),
    ("0008103E", "LO", ["Series %(series_number)s, portal venous 1.0 B30f"]),
    ("00081040", "LO", ["Radiology"]),
    ("00081050", "PN", [{"Alphabetic": "Performer^Paul"}]),
    ("00081090", "LO", ["Scanner 64"]),
    ("00081111", "SQ", [{"00081150": {"vr": "UI", "Value": ["1.2.840.10008.3.1.2.3.3"]}}]),
    ("00100010", "PN", [{"Alphabetic": "Family%(patient)s^Given^Middle"}]),
    ("00100020", "LO", ["P%(patient)s"]),
    ("00100030", "DA", ["19600102"]),
    ("00100040", "CS", ["F"]),
    ("00180015", "CS", ["ABDOMEN"]),
    ("00180022", "CS", ["HELIX"]),
    ("00180050", "DS", [1]),
    ("00180060", "DS", [120]),
    ("00180090", "DS", [500]),
    ("00181020", "LO", ["syngo 2012B"]),
    ("00181030", "LO", ["Thorax and abdomen with contrast"]),
    ("00181100", "DS", [380]),
    ("00181150", "IS", [500]),
    ("00181151", "IS", [189]),
    ("00181170", "IS", [26]),
    ("00181210", "SH", ["B30f"]),
    ("00185100", "CS", ["HFS"]),
    ("0020000D", "UI", ["%(study)s"]),
    ("0020000E", "UI", ["%(series)s"]),
    ("00200010", "SH", ["S%(study_number)s"]),
    ("00200011", "IS", ["%(series_number)s"]),
    ("00200012", "IS", [1]),
    ("00200013", "IS", ["%(number)s"]),
    ("00200032", "DS", [-189.628, -361.628, "%(number)s"]),
    ("00200037", "DS", [1, 0, 0, 0, 1, 0]),
    ("00200052", "UI", ["%(series)s.8"]),
    ("00201041", "DS", ["%(number)s"]),
    ("00280002", "US", [1]),
    ("00280004", "CS", ["MONOCHROME2"]),
    ("00280010", "US", [512]),
    ("00280011", "US", [512]),
    ("00280030", "DS", [0.7421875, 0.7421875]),
    ("00280100", "US", [16]),
    ("00281050", "DS", [50]),
    ("00281051", "DS", [350]),
    ("00281052", "DS", [-1024]),
    ("00400244", "DA", ["20240715"]),
    ("00400245", "TM", ["083117.250"]),
    ("00400253", "SH", ["PPS%(study_number)s"]),
]


def _element(vr: str, values: list[Any]) -> dict[str, Any]:
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _template() -> bytes:
    text = orjson.dumps({tag: _element(vr, values) for tag, vr, values in _ATTRIBUTES})
    for number in (b"%(number)s", b"%(series_number)s"):
        text = text.replace(b'"' + number + b'"', number)
    return text


# To be filled with `%` and a mapping of bytes.
TEMPLATE = _template()
