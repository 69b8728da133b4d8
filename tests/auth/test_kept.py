"""A token is fetched once for all, renewed before it ends, and what is said of it tells nothing secret."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import jwt
import pytest

from dicomcast.auth import kept
from dicomcast.auth.advice import Asked, advice, described
from dicomcast.auth.claims import Claims, claims_of
from dicomcast.auth.kept import Issued, Kept
from dicomcast.errors import ConfigError, Unreachable

ASKED = Asked("fhir", "FHIR Data Contributor", "the scope s")


@dataclass
class Clock:
    """The monotonic clock, which a test moves."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Desk:
    """Issues numbered tokens, when it is let; while it is `away` it fails, `broken` as a key that cannot be used."""

    lifetime: float = 3600.0
    away: bool = False
    broken: bool = False
    asked: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def issue(self) -> Issued:
        self.asked += 1
        number = self.asked
        await self.open.wait()
        if self.away:
            raise Unreachable("no token for fhir", peer="fhir")
        if self.broken:
            raise ConfigError("FHIR__AUTH__KEY_FILE: no key in it")
        return Issued(f"token-{number}", self.lifetime)

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that `kept` reads."""
    clock = Clock()
    monkeypatch.setattr(kept, "time", clock)
    return clock


async def test_one_fetch_for_many(clock: Clock) -> None:
    """Whoever comes while one is under way waits for that one; also after a 401."""
    desk = Desk()
    desk.open.clear()
    credentials = Kept(desk, ASKED)
    waiting = [asyncio.create_task(credentials.header()) for _ in range(20)]
    await asyncio.sleep(0)
    desk.open.set()
    assert set(await asyncio.gather(*waiting)) == {"Bearer token-1"} and desk.asked == 1
    renewed = await asyncio.gather(*(credentials.renewed("Bearer token-1") for _ in range(20)))
    assert set(renewed) == {"Bearer token-2"} and desk.asked == 2
    assert await credentials.renewed("Bearer token-1") == "Bearer token-2" and desk.asked == 2


async def test_a_failure_is_told_to_all_and_not_kept(clock: Clock) -> None:
    """The next request asks again."""
    desk = Desk(away=True)
    credentials = Kept(desk, ASKED)
    told = await asyncio.gather(*(credentials.header() for _ in range(5)), return_exceptions=True)
    assert {type(one) for one in told} == {Unreachable} and desk.asked == 1
    desk.away = False
    assert await credentials.header() == "Bearer token-2"


async def test_who_is_cancelled_stops_nobody_else(clock: Clock) -> None:
    """A request that times out leaves the fetch to those that wait too."""
    desk = Desk()
    desk.open.clear()
    credentials = Kept(desk, ASKED)
    first, second = (asyncio.create_task(credentials.header()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    desk.open.set()
    assert await second == "Bearer token-1"
    assert first.cancelled() or first.cancelling()


@pytest.mark.parametrize(("lifetime", "ahead"), [(3600.0, 300.0), (60.0, 15.0)])
async def test_it_is_renewed_before_it_ends(clock: Clock, lifetime: float, ahead: float) -> None:
    """Beside the work: while the new one is under way, the old one serves."""
    desk = Desk(lifetime)
    credentials = Kept(desk, ASKED)
    await credentials.header()
    clock.now += lifetime - ahead - 1
    assert await credentials.header() == "Bearer token-1" and desk.asked == 1
    clock.now += 1
    assert await credentials.header() == "Bearer token-1"
    await asyncio.sleep(0)
    assert await credentials.header() == "Bearer token-2" and desk.asked == 2


async def test_where_renewing_fails_the_old_one_serves_to_its_end(clock: Clock) -> None:
    """It is tried again after a while, not for every request; at the end it must be."""
    desk = Desk()
    credentials = Kept(desk, ASKED)
    await credentials.header()
    desk.away = True
    clock.now += 3400
    for _ in range(5):
        assert await credentials.header() == "Bearer token-1"
        await asyncio.sleep(0)
    assert desk.asked == 2
    clock.now += 10
    await credentials.header()
    await asyncio.sleep(0)
    assert desk.asked == 3
    clock.now += 190
    with pytest.raises(Unreachable):
        await credentials.header()


async def test_a_token_without_life_is_used_once(clock: Clock) -> None:
    """`expires_in: 0` is no reason to ask for ever."""
    desk = Desk(0.0)
    credentials = Kept(desk, ASKED)
    assert [await credentials.header() for _ in range(2)] == ["Bearer token-1", "Bearer token-2"]


async def test_closed_while_one_is_under_way(clock: Clock) -> None:
    """Nothing is left behind."""
    desk = Desk()
    desk.open.clear()
    credentials = Kept(desk, ASKED)
    waiting = asyncio.create_task(credentials.header())
    await asyncio.sleep(0)
    await credentials.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def token(**claims: object) -> str:
    """A JWT with these claims."""
    return jwt.encode(claims, "k" * 32, "HS256")


def test_claims() -> None:
    """Of what a token says, what can be shown; other tokens say nothing."""
    said = claims_of(token(aud=["a", "b"], roles=["R"], scp="s t", iat=1, nbf=2, exp=61))
    assert said == Claims("a b", ("R", "s", "t"), 1.0, 2.0, 61.0)
    assert said.lifetime == 60.0
    assert claims_of(token(aud=7, scope="a\nb", exp="soon", iat=1e300)) == Claims()
    for other in ("", "opaque", "a.b.c", "a.W10.c", "a.!.c", "a.bnVsbA.c"):
        assert claims_of(other) is None


def test_advice_tells_no_token() -> None:
    """Neither that of a JWT nor of another; a token that says nothing says that."""
    for secret in (token(aud="https://a", sub="s3same"), "s3same"):
        for status in (401, 403):
            said = [
                advice(status, asked, secret) for asked in (ASKED, Asked("fhir", "R"), Asked("fhir", "R", "s", True))
            ]
            assert not any(secret in one or "s3same" in one for one in [*said, described(secret, ASKED)])
    assert "tells nothing of itself" in advice(401, Asked("fhir", "R"), "s3same")
    assert advice(403, Asked("dicom", "DICOM Data Reader", "the scope s", on_azure=True), "opaque") == (
        "the role DICOM Data Reader is missing there; the token was asked for the scope s (DICOMCAST_DICOM__AUTH)"
    )


async def test_a_key_that_is_being_replaced(clock: Clock) -> None:
    """It was good at the start, so that it is waited for: the error of a setting would end the worker."""
    desk = Desk()
    credentials = Kept(desk, ASKED)
    await credentials.header()
    desk.broken = True
    with pytest.raises(Unreachable, match="^no token for fhir: DICOMCAST_FHIR__AUTH__KEY_FILE: no key in it$"):
        await credentials.renewed("Bearer token-1")
