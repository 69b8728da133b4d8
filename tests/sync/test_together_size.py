"""How many studies share a transaction: fewer where a server fails at many, and more again after a while."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dicomcast.bundle import Method, Write
from dicomcast.errors import DicomCastError, NotTogether, Rejected, Retriable, Unauthorized
from dicomcast.fhir import FhirServer, Written
from dicomcast.spans import SILENT
from dicomcast.together import STUDIES, Together

pytestmark = pytest.mark.looptime


class Server:
    """Takes so many resources at once, and fails at more with an error; `sent` is what was in each transaction."""

    capabilities = SimpleNamespace(transaction=True)
    spans = SILENT

    def __init__(self, takes: int, error: DicomCastError) -> None:
        self.takes, self.error = takes, error
        self.sent: list[list[str]] = []

    async def write(self, writes: list[Write]) -> list[Written]:
        """Note the ids, and whether there are too many."""
        self.sent.append([write.resource["id"] for write in writes])
        await asyncio.sleep(1)
        if len(writes) > self.takes:
            raise self.error
        return [Written(200, write.resource["id"], "1") for write in writes]

    def sizes(self) -> list[int]:
        """How many there were in each transaction since the last look."""
        sizes = [len(one) for one in self.sent]
        del self.sent[:]
        return sizes


TIME_OUT = Retriable("fhir answered 504", peer="fhir", status=504)
TOO_MUCH = Rejected("fhir answered 413", peer="fhir", status=413)


def over(server: Server) -> Together:
    """One transaction at a time."""
    return Together(cast(FhirServer, server), at_once=1)


async def write(together: Together, *ids: str) -> list[Any]:
    """Studies of a resource each, side by side; an error in place of an answer."""
    asked = ({"resourceType": "ImagingStudy", "id": one} for one in ids)
    return await asyncio.gather(*(together.write([Write(Method.PUT, one)]) for one in asked), return_exceptions=True)


def named(count: int) -> list[str]:
    return [f"s{number}" for number in range(count)]


@pytest.mark.parametrize("error", [TIME_OUT, TOO_MUCH], ids=["time-out", "refusal"])
async def test_a_server_that_fails_at_many_is_given_half_as_many(error: DicomCastError) -> None:
    """Until it takes them; who was in what failed is told to go alone."""
    server = Server(8, error)
    answers = await write(over(server), *named(96))
    assert server.sizes() == [32, 16] + [8] * 6
    assert [type(one) for one in answers[:48]] == [NotTogether] * 48
    assert [[written.id for written in one] for one in answers[48:]] == [[one] for one in named(96)[48:]]


async def test_it_is_given_no_more_for_five_minutes() -> None:
    """Else each transaction that it takes would be followed by one that it does not."""
    server = Server(8, TIME_OUT)
    together = over(server)
    await write(together, *named(48))
    server.takes = STUDIES
    server.sizes()
    for _ in range(4):
        await write(together, *named(16))
        await asyncio.sleep(60)
    assert server.sizes() == [8] * 8
    await asyncio.sleep(60)
    await write(together, *named(8 + 9 + 10 + 11))
    assert server.sizes() == [8, 9, 10, 11]


async def test_it_never_grows_beyond_what_it_began_with() -> None:
    """However long all goes well."""
    server = Server(STUDIES, TIME_OUT)
    await write(over(server), *named(4 * STUDIES))
    assert server.sizes() == [STUDIES] * 4


async def test_pairs_are_shared_though_one_was_refused() -> None:
    """What is wrong with two may be wrong with one of them: sharing goes on."""
    server = Server(1, TOO_MUCH)
    together = over(server)
    for _ in range(5):
        await write(together, *named(2))
    assert together.possible
    assert server.sizes() == [2] * 5


async def test_refused_credentials_make_nothing_smaller() -> None:
    """No study fares better alone, so each is told of it."""
    server = Server(0, Unauthorized("fhir answered 401", peer="fhir", status=401))
    together = over(server)
    assert {type(one) for one in await write(together, *named(STUDIES))} == {Unauthorized}
    server.takes = STUDIES
    await write(together, *named(STUDIES))
    assert server.sizes() == [STUDIES, STUDIES]


async def test_no_resource_is_in_a_transaction_twice() -> None:
    """Two studies that write the same one go one after the other, in their order."""
    server = Server(STUDIES, TIME_OUT)
    await write(over(server), "a", "b", "a", "c", "b")
    assert server.sent == [["a", "b"], ["a", "c", "b"]]


async def test_who_is_cancelled_is_not_sent() -> None:
    """Nor waited for; the others are written."""
    server = Server(STUDIES, TIME_OUT)
    together = over(server)
    first = asyncio.create_task(write(together, "a"))
    await asyncio.sleep(0.5)
    waiting = [asyncio.create_task(write(together, one)) for one in "bc"]
    await asyncio.sleep(0.1)
    waiting[0].cancel()
    await asyncio.gather(first, *waiting, return_exceptions=True)
    assert server.sent == [["a"], ["c"]]
