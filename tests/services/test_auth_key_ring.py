"""Keys are fetched when they are needed, kept for a while, and believed no longer than that."""

import asyncio
import gzip
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from oidc_server import Behaviour, Site, answer, key_set, site_of

from camber.clock import ManualClock
from camber.errors import RequestError
from camber.functions.auth_config import AuthConfig, CustomJwtProvider
from camber.services.auth.key_ring import FRESH_SECONDS, RETRY_SECONDS, STALE_SECONDS
from camber.services.auth.verifier import JwtVerifier
from camber.services.auth.web import SIZE_MAX, Web
from signing import ISSUER, Signer, claims, data_url, verifier

OLD, NEW = Signer("ES256", "old"), Signer("ES256", "new", number=1)


class Stage:
    """A provider's site, a verifier that believes it, and a clock."""

    def __init__(self, site: Site, seconds: float = 10.0) -> None:
        self.site = site
        self.clock = ManualClock()
        self.web = Web(development=True, seconds=seconds)
        self.verifier = verifier(site.custom("ES256"), clock=self.clock, web=self.web)

    @property
    def fetches(self) -> int:
        return self.site.asked["/jwks"]

    async def accepts(self, token: str) -> bool:
        return await self.refusal(token) is None

    async def refusal(self, token: str) -> RequestError | None:
        try:
            await self.verifier.verify(token)
        except RequestError as error:
            return error
        return None


def staged(scenario: Callable[[Stage], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with site_of(OLD) as site:
            stage = Stage(site, **options)
            await scenario(stage)
            await stage.verifier.close()

    asyncio.run(run())


def lasting(signer: Signer, **changes: Any) -> str:
    """A token that outlives every key."""
    return signer.token(claims(exp=claims()["exp"] + 10**6, **changes))


def test_s4_random_key_ids_cause_one_fetch_in_thirty_seconds() -> None:
    async def scenario(stage: Stage) -> None:
        tokens = [OLD.token(header=OLD.header(kid=f"random-{n}")) for n in range(1000)]
        # Of those that come at once; each is another token, as each has a signature of its own.
        refused = await asyncio.gather(*(stage.refusal(token) for token in tokens))
        assert all(error is not None for error in refused)
        assert stage.fetches == 1
        for round in range(1, 10):
            stage.clock.advance(RETRY_SECONDS)
            for n in range(1000):
                assert await stage.refusal(tokens[n]) is not None
            assert stage.fetches == 1 + round
        stage.clock.advance(RETRY_SECONDS - 0.1)
        assert await stage.accepts(lasting(OLD))
        assert not await stage.accepts(tokens[0])
        assert stage.fetches == 10

    staged(scenario)


def test_s4_a_new_key_is_found_by_the_first_token_that_it_signed() -> None:
    async def scenario(stage: Stage) -> None:
        assert await stage.accepts(lasting(OLD))
        stage.site.answers["/jwks"] = answer(key_set(OLD, NEW))
        stage.clock.advance(RETRY_SECONDS)
        assert await stage.accepts(lasting(NEW))
        assert await stage.accepts(lasting(OLD))
        assert stage.fetches == 2

    staged(scenario)


def test_s4_many_who_wait_for_keys_wait_for_one_fetch() -> None:
    async def scenario(stage: Stage) -> None:
        tokens = [lasting(OLD, sub=f"user-{n}") for n in range(50)]
        assert all(await asyncio.gather(*map(stage.accepts, tokens)))
        assert stage.fetches == 1

    staged(scenario)


def test_s4_a_key_that_is_taken_back_is_dead_when_the_keys_are_fetched_again() -> None:
    async def scenario(stage: Stage) -> None:
        token = lasting(OLD)
        assert await stage.accepts(token)
        stage.site.answers["/jwks"] = answer(key_set(NEW))
        stage.clock.advance(FRESH_SECONDS - 1)
        assert await stage.accepts(token), "it is remembered, and its keys are fresh"
        stage.clock.advance(1)
        assert not await stage.accepts(token)
        assert await stage.accepts(lasting(NEW))

    staged(scenario)


def test_s4_keys_are_renewed_beside_the_requests_before_they_are_too_old() -> None:
    async def scenario(stage: Stage) -> None:
        token = lasting(OLD)
        assert await stage.accepts(token)
        stage.clock.advance(0.8 * FRESH_SECONDS)
        fetched = asyncio.Event()

        async def slow(writer: asyncio.StreamWriter) -> None:
            writer.write(answer(key_set(OLD)))
            fetched.set()

        stage.site.answers["/jwks"] = slow
        assert await stage.accepts(token)
        assert stage.fetches == 1
        await fetched.wait()
        assert stage.fetches == 2

    staged(scenario)


def test_s4_while_the_provider_is_away_its_last_word_holds_for_an_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(stage: Stage) -> None:
        token = lasting(OLD)
        assert await stage.accepts(token)
        stage.site.answers["/jwks"] = answer(b"", "503 Away")
        for _ in range(12):
            stage.clock.advance(STALE_SECONDS / 12)
            assert await stage.accepts(token)
        stage.clock.advance(FRESH_SECONDS)
        refused = await stage.refusal(token)
        assert str(refused) == (
            f"Could not fetch JWKS from URL '{stage.site.origin}/jwks': HTTP 503. "
            "Check that the URL is correct and accessible."
        )
        stage.site.answers["/jwks"] = answer(key_set(OLD))
        stage.clock.advance(RETRY_SECONDS)
        assert await stage.accepts(token)

    with caplog.at_level(logging.ERROR, "camber.auth"):
        staged(scenario)


def test_s4_a_provider_that_just_starts_is_asked_again_soon_and_then_less_often() -> None:
    async def scenario(stage: Stage) -> None:
        stage.site.answers["/jwks"] = answer(b"", "503 Away")
        token = lasting(OLD)
        assert not await stage.accepts(token)
        asked_at = []
        for second in range(200):
            fetches = stage.fetches
            assert not await stage.accepts(token)
            if stage.fetches > fetches:
                asked_at.append(second)
            stage.clock.advance(1)
        assert asked_at == [1, 3, 7, 15, 31, 61, 91, 121, 151, 181]

    staged(scenario)


async def _silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _half(writer: asyncio.StreamWriter) -> None:
    writer.write(answer(key_set(OLD))[:-10])
    await writer.drain()


async def _half_and_silence(writer: asyncio.StreamWriter) -> None:
    await _half(writer)
    await _silence(writer)


def _endless(head: bytes, piece: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()

    return behave


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
_BOMB = gzip.compress(b'{"keys":[' + b" " * (50 << 20) + b"]}", 9)
HOSTILE: dict[str, tuple[Behaviour, str]] = {
    "silent": (_silence, "no complete answer within 0.3 seconds"),
    "silent in the middle": (_half_and_silence, "no complete answer within 0.3 seconds"),
    "cut off": (_half, "the connection ended within the answer"),
    "endless": (_endless(_HEAD + b"\r\n", b"x" * 65536), "larger than 512 KiB"),
    "endless in chunks": (
        _endless(
            _HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1000\r\n" + b" " * 4096 + b"\r\n"
        ),
        "larger than 512 KiB",
    ),
    "endless headers": (_endless(_HEAD, b"x: " + b"x" * 4000 + b"\r\n"), "larger than 512 KiB"),
    "endless interim answers": (
        _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        "larger than 512 KiB",
    ),
    "a gigabyte": (_HEAD + b"content-length: 1073741824\r\n\r\n{", "larger than 512 KiB"),
    "a bomb": (
        _HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(_BOMB) + _BOMB,
        "the answer is compressed",
    ),
    "redirecting": (
        answer(b"", "302 Found", extra="location: /.well-known/openid-configuration\r\n"),
        "HTTP 302",
    ),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n", "not valid HTTP"),
    "HTTP/0.9": (key_set(OLD), "not valid HTTP"),
    "hanging up": (b"", "the connection ended within the answer"),
    "two lengths": (_HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}", "not valid HTTP"),
    "absent": (answer(b"x", "404 Not Found"), "HTTP 404"),
    "a page": (answer(b"<html>", type="text/html"), "Invalid Content-Type 'text/html' when"),
    "of no type": (answer(key_set(OLD), type=""), "Invalid Content-Type '' when"),
    "no JSON": (answer(b"{"), "it is not JSON"),
    "no key set": (answer(b"[]"), "it is no key set"),
    "deep": (answer(b"[" * 100_000), "it is not JSON"),
}


@pytest.mark.parametrize(("behaviour", "why"), HOSTILE.values(), ids=HOSTILE)
def test_s4_whatever_is_where_keys_should_be_is_over_soon(behaviour: Behaviour, why: str) -> None:
    async def scenario(stage: Stage) -> None:
        stage.site.answers["/jwks"] = behaviour
        error = await stage.refusal(lasting(OLD))
        assert error is not None
        assert why in str(error)
        assert (error.status, error.code) == (401, "AuthProviderDiscoveryFailed")
        assert sum(stage.site.asked.values()) == 1

    staged(scenario, seconds=0.3 if "0.3" in why else 10.0)


@pytest.mark.parametrize(
    "whole",
    [
        answer(key_set(OLD), type="application/jwk-set+json"),
        answer(key_set(OLD), type="Application/JSON; charset=utf-8"),
        _HEAD + b"\r\n" + key_set(OLD),
        _HEAD
        + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(key_set(OLD)), key_set(OLD)),
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + answer(key_set(OLD)),
        answer(key_set(OLD) + b" " * (SIZE_MAX - len(key_set(OLD)))),
        answer(key_set(OLD)) + b"and more that nobody asked for",
    ],
)
def test_keys_may_come_in_any_proper_way(whole: bytes) -> None:
    async def scenario(stage: Stage) -> None:
        stage.site.answers["/jwks"] = whole
        assert await stage.refusal(lasting(OLD)) is None

    staged(scenario)


def test_a_fetch_says_who_asks_for_what_and_nothing_of_the_token() -> None:
    async def scenario(stage: Stage) -> None:
        token = lasting(OLD)
        await stage.verifier.verify(token)
        (head,) = stage.site.heads
        assert head.startswith(b"GET /jwks HTTP/1.1\r\nHost: 127.0.0.1:")
        assert b"\r\nAccept-Encoding: identity\r\n" in head
        assert token.encode()[:20] not in head

    staged(scenario)


def test_what_is_remembered_ends_with_the_providers_it_was_verified_by() -> None:
    async def scenario(stage: Stage) -> None:
        token, made = lasting(OLD), stage.verifier
        first = await made.verify(token)
        assert await made.verify(token) is first
        made.use(AuthConfig([stage.site.custom("ES256")]))
        assert await made.verify(token) is first, "nothing has changed"
        made.use(AuthConfig([CustomJwtProvider(ISSUER, data_url(key_set(NEW)), "ES256")]))
        assert not await stage.accepts(token)
        made.use(AuthConfig([]))
        assert not await stage.accepts(token)
        made.use(AuthConfig([stage.site.custom("ES256")]))
        assert await stage.accepts(token)

    staged(scenario)


def test_providers_may_change_while_a_token_waits_for_keys() -> None:
    async def scenario(stage: Stage) -> None:
        stage.site.answers["/jwks"] = _silence
        waiting = [asyncio.create_task(stage.refusal(lasting(OLD))) for _ in range(3)]
        waiting += [asyncio.create_task(stage.refusal(lasting(NEW))) for _ in range(3)]
        await stage.site.was_asked.wait()
        stage.verifier.use(AuthConfig([CustomJwtProvider(ISSUER, data_url(key_set(NEW)), "ES256")]))
        told = await asyncio.gather(*waiting)
        assert [error is None for error in told] == [False] * 3 + [True] * 3

    staged(scenario)


def test_whoever_stops_waiting_does_not_stop_the_others() -> None:
    async def scenario(stage: Stage) -> None:
        go = asyncio.Event()

        async def wait(writer: asyncio.StreamWriter) -> None:
            await go.wait()
            writer.write(answer(key_set(OLD)))
            await writer.drain()

        stage.site.answers["/jwks"] = wait
        tasks = [asyncio.create_task(stage.accepts(lasting(OLD, sub=str(n)))) for n in range(3)]
        await stage.site.was_asked.wait()
        tasks[0].cancel()
        go.set()
        assert await asyncio.gather(*tasks[1:]) == [True, True]
        assert stage.fetches == 1

    staged(scenario)


def test_only_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camber.services.auth.verifier.VERIFIED_MAX", 10)
    signer = Signer("EdDSA")

    async def scenario() -> None:
        async with site_of(signer) as site:
            made: JwtVerifier = verifier(site.provider, web=Web(development=True))
            tokens = [signer.token(claims(iss=site.origin, sub=f"user-{n}")) for n in range(12)]
            identities = [await made.verify(token) for token in tokens]
            assert await made.verify(tokens[-1]) is identities[-1]
            assert await made.verify(tokens[2]) is identities[2]
            assert await made.verify(tokens[0]) is not identities[0]

    asyncio.run(scenario())
