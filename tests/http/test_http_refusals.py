"""What a refusal tells: codes and places, and never a patient."""

from __future__ import annotations

import json
import traceback
from typing import Any

import httpx
import pytest

from dicomcast.answers import issue_codes
from dicomcast.errors import Rejected
from tests.answers import SECRET, peer, refused


def told(error: BaseException) -> str:
    """All that a log, a terminal or a debugger's first look may show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__)


def outcome(*issues: Any) -> bytes:
    """An OperationOutcome."""
    return json.dumps({"resourceType": "OperationOutcome", "issue": list(issues)}).encode()


ISSUE = {
    "severity": "error",
    "code": "invalid",
    "expression": ["Patient.name[0]", "Patient.birthDate"],
    "diagnostics": f"{SECRET} is no name",
    "details": {"text": f"what is {SECRET}?", "coding": [{"code": SECRET, "display": SECRET}]},
    "location": [f"/f:Patient[{SECRET}]"],
}


async def test_codes_and_expressions_are_kept_and_free_text_is_not() -> None:
    """`issue.code` and `issue.expression` say what was wrong and where; the rest may hold a patient."""
    body = outcome(ISSUE, {"severity": "warning", "code": "informational", "diagnostics": SECRET})
    error = await refused(lambda _: httpx.Response(422, content=body))
    assert isinstance(error, Rejected)
    assert error.codes == ("invalid Patient.name[0] Patient.birthDate", "informational")
    assert "(invalid Patient.name[0] Patient.birthDate, informational)" in str(error)
    assert SECRET not in told(error)


CODES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "no issues": (outcome(), ()),
    "another resource": (b'{"resourceType": "Bundle", "x": "OperationOutcome", "issue": [{"code": "x"}]}', ()),
    "not JSON": (b"OperationOutcome", ()),
    "issue null": (b'{"resourceType": "OperationOutcome", "issue": null}', ()),
    "a list": (b'["OperationOutcome"]', ()),
    "deep": (b'{"resourceType": "OperationOutcome", "issue": ' + b"[" * 10_000, ()),
    "not UTF-8": (b'{"resourceType": "OperationOutcome", "issue": [{"code": "\xff"}]}', ()),
    "one issue bare": (
        b'{"resourceType": "OperationOutcome", "issue": [7, null, {"code": "lock-error"}]}',
        ("lock-error",),
    ),
    "null expression": (outcome({"code": "conflict", "expression": None}), ("conflict",)),
    "bare expression": (outcome({"code": "value", "expression": "Patient.id"}), ("value Patient.id",)),
    "no code": (outcome({"expression": ["Patient.id"]}), ("Patient.id",)),
    "prose for a code": (outcome({"code": f"no such patient: {SECRET}"}), ()),
    "a value in an expression": (
        outcome({"code": "value", "expression": [f"Patient.identifier.where(value='{SECRET}').system"]}),
        ("value Patient.identifier",),
    ),
    "a number in an expression": (outcome({"expression": ["Patient.name.where(value=4711).b"]}), ("Patient.name",)),
    "prose for an expression": (outcome({"code": "value", "expression": [f"the name {SECRET}"]}), ("value",)),
    "more than five": (outcome(*[{"code": "required"}] * 9), ("required",) * 5),
    "long": (
        outcome({"code": "value", "expression": ["Bundle.entry" * 50]}),
        (("value " + "Bundle.entry" * 50)[:120],),
    ),
}


@pytest.mark.parametrize("name", CODES)
def test_issue_codes_of_any_outcome(name: str) -> None:
    """Whatever stands in an OperationOutcome, what is well-formed is kept and nothing else, without an error."""
    content, codes = CODES[name]
    assert issue_codes(content) == codes


BODIES = {
    "HTML": b"<!doctype html><title>Sign in</title>" + SECRET.encode(),
    "not UTF-8": b"\xff\xfe\x00" + SECRET.encode("latin-1") + b"\xe4\xf6\xfc",
    "huge": b"<p>" + SECRET.encode() * 500_000,
    "huge outcome": outcome(*[ISSUE] * 5000),
    "empty": b"",
    "JSON": json.dumps({"message": SECRET}).encode(),
}


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 500, 503, 302])
@pytest.mark.parametrize("name", BODIES)
async def test_no_patient_in_an_error(status: int, name: str) -> None:
    """Neither the query nor the body of a request, nor the body or a header of its answer, gets into an error."""
    headers = {"Content-Type": "text/html; charset=klingon", "X-Why": SECRET, "Warning": f'199 - "{SECRET}"'}
    error = await refused(
        lambda _: httpx.Response(status, content=BODIES[name], headers=headers),
        params={"identifier": SECRET},
        content=SECRET.encode(),
        headers={"X-Patient": SECRET},
    )
    assert SECRET not in told(error)
    assert len(str(error)) < 1000


@pytest.mark.parametrize("name", BODIES)
async def test_the_body_of_an_answer_is_left_alone(name: str) -> None:
    """What comes with a 200 is handed on byte for byte, whatever it is."""
    async with peer(lambda _: httpx.Response(200, content=BODIES[name])) as http:
        assert (await http.request("GET", "Patient")).content == BODIES[name]
