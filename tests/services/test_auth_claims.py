"""What a token says of itself must be so: who issued it, for whom, from when and until when."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camber.clock import ManualClock
from camber.errors import RequestError
from camber.functions.auth_config import CustomJwtProvider
from camber.services.auth.claims import LEEWAY_SECONDS, SKEW_SECONDS, ClaimError, check_times
from camber.services.auth.token import Token, read_token
from signing import AUDIENCE, ISSUER, NOW, Signer, claims, custom, refusal, verifier, verify

SIGNER = Signer("ES256")
PROVIDER = custom(SIGNER)

# What stands where a time should, in JSON.
ODD_TIMES = [
    '"1760003600"', '"x"', "null", "true", "[]", "{}", "[1760003600]", "-1", "-1760003600",
    "9223372036854775808", "1e300", "1760003600000", "253402300800", "-0.5",
]  # fmt: skip

times = st.one_of(
    st.integers(NOW - 200, NOW + 200),
    st.floats(NOW - 200, NOW + 200),
    st.sampled_from([NOW - 5, NOW + 5, NOW + 60, NOW - 5.001, NOW + 5.001, NOW + 60.001]),
)
odd = st.one_of(
    st.text(max_size=12),
    st.booleans(),
    st.none(),
    st.integers(max_value=-1),
    st.integers(min_value=253_402_300_800),
    st.floats(max_value=-0.001),
    st.just(float("nan")),
    st.lists(st.integers(), max_size=2),
)


@settings(deadline=None)
@given(exp=times, nbf=times | st.none(), iat=times | st.none(), needed=st.booleans())
def test_s3_a_token_is_good_within_its_times_and_the_leeway(
    exp: float, nbf: float | None, iat: float | None, needed: bool
) -> None:
    said = {"exp": exp, "nbf": nbf, "iat": iat}
    given = {name: time for name, time in said.items() if time is not None}
    good = (
        exp + LEEWAY_SECONDS > NOW
        and (nbf is None or nbf - LEEWAY_SECONDS <= NOW)
        and (not needed if iat is None else iat - SKEW_SECONDS <= NOW)
    )
    try:
        expires_at = check_times(given, NOW, needs_issue_time=needed)
    except ClaimError:
        # At the very edge, sums of floats may differ by their last bit.
        assert not good or any(abs(abs(t - NOW) % 55 - 5) < 1e-3 for t in given.values())
    else:
        assert good or any(abs(abs(t - NOW) % 55 - 5) < 1e-3 for t in given.values())
        assert expires_at == exp + LEEWAY_SECONDS


@settings(deadline=None)
@given(name=st.sampled_from(["exp", "nbf", "iat"]), time=odd)
def test_s3_what_is_no_time_is_never_taken_for_one(name: str, time: Any) -> None:
    with pytest.raises(ClaimError):
        check_times({"exp": NOW + 60, "iat": NOW, name: time}, NOW, needs_issue_time=False)


def test_the_leeways_are_what_they_are() -> None:
    assert (LEEWAY_SECONDS, SKEW_SECONDS) == (5.0, 60.0)


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("time", ODD_TIMES)
def test_s3_a_token_whose_times_are_none_is_refused(name: str, time: str) -> None:
    fields = [f'"{k}":{json.dumps(v)}' for k, v in claims(**{name: ...}).items()]
    payload = "{" + ",".join([*fields, f'"{name}":{time}']) + "}"
    assert refusal(SIGNER.token(payload.encode()), PROVIDER) is not None


def test_s3_a_token_ends_when_it_says_so_also_when_it_is_remembered() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        made = verifier(PROVIDER, clock=clock)
        token = SIGNER.token(claims(exp=NOW + 100))
        identity = await made.verify(token)
        assert identity.expires_at == NOW + 100 + LEEWAY_SECONDS
        clock.advance(104.9)
        assert await made.verify(token) is identity
        clock.advance(0.1)
        with pytest.raises(RequestError, match="it has expired"):
            await made.verify(token)
        clock.jump(-50)
        assert (await made.verify(token)).attributes == identity.attributes

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "changes",
    [{"exp": ...}, {"sub": ...}, {"sub": ""}, {"sub": 7}, {"sub": None}, {"sub": ["user-1"]}],
    ids=str,
)
def test_s3_what_must_be_said_must_be_said(changes: dict[str, Any]) -> None:
    error = refusal(SIGNER.token(claims(**changes)), PROVIDER)
    assert error is not None
    assert (error.status, error.code) == (401, "Unauthenticated")


ISSUERS = [
    "https://id.example.co", "https://id.example.com.evil.example", "https://id.example.com/x",
    "https://evil.example/https://id.example.com", "https://ID.example.com", "HTTPS://id.example.com",
    "https://id.example.com//", "https://id.example.com?", "https://id.example.com#", "id.example",
    "http://id.example.com", "https://id.example.com:443", "https://id.example.com\x00",
    " https://id.example.com", "https://id.example.com ", "https://іd.example.com", "*", "https://",
    "https://user@id.example.com", "https://id.example.com.", "//id.example.com", ".*",
]  # fmt: skip


@pytest.mark.parametrize("issuer", ISSUERS)
def test_s3_another_issuer_is_another_issuer_however_alike(issuer: str) -> None:
    error = refusal(SIGNER.token(claims(iss=issuer)), PROVIDER)
    assert error is not None
    assert error.code == "NoAuthProvider"


@pytest.mark.parametrize("issuer", [..., None, "", 1, True, [], [ISSUER], {"a": ISSUER}])
def test_s3_an_issuer_that_is_no_text_is_missing(issuer: Any) -> None:
    error = refusal(SIGNER.token(claims(iss=issuer)), PROVIDER)
    assert (str(error), error and error.code) == (
        "Missing issuer claim ('iss') in JWT payload. The JWT must include an 'iss' claim that "
        "matches one of your configured auth providers.",
        "InvalidAuthHeader",
    )


@pytest.mark.parametrize("issuer", [ISSUER, f"{ISSUER}/", "id.example.com", "id.example.com/"])
@pytest.mark.parametrize("configured", [ISSUER, f"{ISSUER}/", "id.example.com"])
def test_s3_only_a_scheme_that_is_missing_and_a_slash_at_the_end_make_no_difference(
    issuer: str, configured: str
) -> None:
    identity = verify(SIGNER.token(claims(iss=issuer)), custom(SIGNER, issuer=configured))
    assert identity.attributes is not None
    assert identity.attributes["tokenIdentifier"] == f"{issuer}|user-1"


AUDIENCES: list[Any] = [
    ..., None, "", "my-ap", "my-app2", "MY-APP", " my-app", "my-app ", [], ["other"], 1, True,
    {"my-app": True}, ["my-app", 1], [["my-app"]], [None, "my-app"], "my-app,other", ["my-app\x00"],
]  # fmt: skip


@pytest.mark.parametrize("audience", AUDIENCES, ids=repr)
def test_s3_a_token_for_somebody_else_is_refused(audience: Any) -> None:
    # Whom it was issued to says nothing of whom it is for.
    error = refusal(SIGNER.token(claims(aud=audience, azp=AUDIENCE)), PROVIDER)
    assert error is not None
    assert error.code == "NoAuthProvider"


def test_an_audience_is_not_looked_at_where_none_is_configured() -> None:
    provider = custom(SIGNER, audience=None)
    for audience in ("anybody", ["a", "b"], ...):
        assert verify(SIGNER.token(claims(aud=audience)), provider).attributes is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4), st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_text_is_read_or_refused(payload: dict[str, Any], text: str) -> None:
    for token in (SIGNER.token(payload), text, f"{text}.{text}.{text}"):
        with contextlib.suppress(RequestError):
            assert isinstance(read_token(token), Token)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
@settings(max_examples=50, deadline=None)
def test_whatever_else_is_claimed_never_changes_who_it_is(extra: dict[str, Any]) -> None:
    token = SIGNER.token({**extra, **claims()})
    if refusal(token, PROVIDER) is not None:
        return
    attributes = verify(token, PROVIDER).attributes
    assert attributes is not None
    who = {name: attributes[name] for name in ("tokenIdentifier", "issuer", "subject")}
    assert who == {"tokenIdentifier": f"{ISSUER}|user-1", "issuer": ISSUER, "subject": "user-1"}


def test_texts_of_refusals_are_those_that_clients_know() -> None:
    def told(token: str, *providers: Any, **options: Any) -> str:
        return str(refusal(token, *providers, **options))

    assert told("x") == (
        "No auth provider found matching the given token (no providers configured). "
        "Check convex/auth_config.py."
    )
    assert told("x", PROVIDER) == (
        "Could not parse JWT payload. Check that the token is a valid JWT format with three "
        "base64-encoded parts separated by dots."
    )
    other = CustomJwtProvider("https://tok.example.com", SIGNER.data_url(), "ES256")
    unknown = SIGNER.token(claims(iss="https://nobody.example"))
    assert told(unknown, PROVIDER, other) == (
        "No auth provider found matching the given token. Check that your JWT's issuer and "
        "audience match one of your configured providers: "
        "[CustomJWT(issuer=https://id.example.com, app_id=my-app), "
        "CustomJWT(issuer=https://tok.example.com)]"
    )
    for providers in [(), (PROVIDER, other)]:
        assert told(unknown, *providers, redact=True) == (
            "No auth provider found matching the given token"
        )
    assert told(SIGNER.token(header={"alg": "ES256"}), PROVIDER) == (
        "Could not decode token. JWT may be missing a 'kid' (key ID) header."
    )
    assert told(SIGNER.token(claims(exp=NOW - 6)), PROVIDER) == (
        "Could not validate token: it has expired (`exp`)."
    )
