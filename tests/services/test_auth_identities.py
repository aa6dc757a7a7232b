"""Who somebody is: issuer and subject. What they are shown of themselves: their claims, renamed."""

import asyncio
from typing import Any

import pytest
from oidc_server import Site, site_of

from camber.errors import RequestError
from camber.functions.auth_config import OidcProvider
from camber.services.auth.web import Web
from signing import AUDIENCE, ISSUER, NOW, Signer, claims, custom, refusal, verifier, verify

SIGNER = Signer("RS256")


def shown(extra: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a custom token's bearer, but for who it is."""
    attributes = dict(verify(SIGNER.token(claims(**extra)), custom(SIGNER)).attributes or {})
    for name in ("tokenIdentifier", "issuer", "subject"):
        del attributes[name]
    return attributes


def shown_by_oidc(extra: dict[str, Any]) -> dict[str, Any]:
    """The same by OpenID Connect."""

    async def scenario() -> dict[str, Any]:
        async with site_of(SIGNER) as site:
            made = verifier(site.provider, web=Web(development=True))
            identity = await made.verify(SIGNER.token(claims(iss=site.origin, **extra)))
            return dict(identity.attributes or {})

    attributes = asyncio.run(scenario())
    for name in ("tokenIdentifier", "issuer", "subject"):
        del attributes[name]
    return attributes


def test_s6_two_issuers_may_speak_of_the_same_subject_and_mean_two_people() -> None:
    ours, theirs = Signer("RS256"), Signer("RS256", number=1)
    providers = custom(ours), custom(theirs, issuer="https://other.example.com")
    same = {"sub": "user-1", "email": "ada@example.com", "email_verified": True}
    one = verify(ours.token(claims(**same)), *providers)
    two = verify(theirs.token(claims(**same, iss="https://other.example.com")), *providers)
    assert one.attributes is not None
    assert two.attributes is not None
    assert one.attributes["tokenIdentifier"] == f"{ISSUER}|user-1"
    assert two.attributes["tokenIdentifier"] == "https://other.example.com|user-1"
    assert one.key != two.key


def test_s6_an_issuer_speaks_for_itself_alone() -> None:
    ours, theirs = Signer("RS256"), Signer("RS256", number=1)
    providers = custom(ours), custom(theirs, issuer="https://other.example.com")
    # Each signs what the other may say; under the name of its key, and of the other's.
    assert refusal(theirs.token(claims()), *providers) is not None
    assert refusal(ours.token(claims(iss="https://other.example.com")), *providers) is not None


def test_s6_no_claim_takes_the_place_of_who_it_is() -> None:
    forged = {"tokenIdentifier": f"{ISSUER}|admin", "issuer": "x", "subject": "admin"}
    for attributes in (
        verify(SIGNER.token(claims(**forged)), custom(SIGNER)).attributes,
        verify(SIGNER.token(claims(**forged, props=forged)), custom(SIGNER)).attributes,
    ):
        assert attributes is not None
        assert attributes["tokenIdentifier"] == f"{ISSUER}|user-1"
        assert (attributes["issuer"], attributes["subject"]) == (ISSUER, "user-1")
    assert shown_by_oidc({**forged, "emailVerified": True, "pictureUrl": "x"}) == {}


def test_claims_of_openid_connect_have_names_of_their_own() -> None:
    assert shown_by_oidc(
        {
            "name": "Ada",
            "given_name": "A",
            "family_name": "L",
            "nickname": "al",
            "preferred_username": "ada",
            "profile": "https://p",
            "picture": "https://i",
            "website": "https://w",
            "email": "a@x",
            "email_verified": True,
            "gender": "f",
            "birthdate": "1815-12-10",
            "zoneinfo": "Europe/London",
            "locale": "en",
            "phone_number": "+44",
            "phone_number_verified": False,
            "address": {"formatted": "Somewhere 1", "country": "UK"},
            "updated_at": NOW,
            "nonce": "n",
            "azp": "x",
            "auth_time": 1,
            "acr": "0",
            "amr": ["pwd"],
            "fva": [1, 2],
            "jti": "j",
            "nbf": NOW,
            "role": "admin",
            "org": {"id": 7, "tags": ["a"]},
            "none": None,
            "https://x/roles": ["r"],
        }
    ) == {
        "name": "Ada",
        "givenName": "A",
        "familyName": "L",
        "nickname": "al",
        "preferredUsername": "ada",
        "profileUrl": "https://p",
        "pictureUrl": "https://i",
        "websiteUrl": "https://w",
        "email": "a@x",
        "emailVerified": True,
        "gender": "f",
        "birthday": "1815-12-10",
        "timezone": "Europe/London",
        "language": "en",
        "phoneNumber": "+44",
        "phoneNumberVerified": False,
        "address": "Somewhere 1",
        "updatedAt": "2025-10-09T08:53:20+00:00",
        "role": "admin",
        "org": {"id": 7, "tags": ["a"]},
        "none": None,
        "https://x/roles": ["r"],
    }


def test_claims_that_are_null_are_absent() -> None:
    assert shown_by_oidc({"name": None, "email": None, "address": {}, "updated_at": None}) == {}


@pytest.mark.parametrize(
    ("claim", "value", "told"),
    [
        ("updated_at", "2024-01-02T03:04:05Z", {"updatedAt": "2024-01-02T03:04:05+00:00"}),
        ("updated_at", 0, {"updatedAt": "1970-01-01T00:00:00+00:00"}),
        ("email_verified", "true", {"emailVerified": True}),
        ("email_verified", "false", {"emailVerified": False}),
        ("address", "Somewhere 1", {"address": "Somewhere 1"}),
    ],
)
def test_some_providers_write_claims_in_ways_of_their_own(
    claim: str, value: Any, told: dict[str, Any]
) -> None:
    assert shown_by_oidc({claim: value}) == told


@pytest.mark.parametrize(
    "changes",
    [{"name": 1}, {"email": ["a@x"]}, {"email_verified": 1}, {"updated_at": "soon"},
     {"updated_at": 1e300}, {"address": 3}, {"sub": 1}, {"sub": ...}],
    ids=str,
)  # fmt: skip
def test_a_standard_claim_of_the_wrong_type_makes_it_no_id_token(changes: dict[str, Any]) -> None:
    error = _oidc_refusal({**changes})
    assert (str(error), error.status, error.code) == (
        "Could not parse as OIDC ID token. Token might not be an OIDC-compliant JWT.",
        401,
        "InvalidAuthHeader",
    )


@pytest.mark.parametrize(
    "changes",
    [{"exp": NOW - 6}, {"exp": ...}, {"iat": ...}, {"iat": NOW + 61}, {"nbf": NOW + 6},
     {"aud": [AUDIENCE, "other"]}],
    ids=str,
)  # fmt: skip
def test_an_id_token_out_of_its_time_or_for_others_too_is_refused(changes: dict[str, Any]) -> None:
    error = _oidc_refusal(changes)
    assert (str(error), error.status, error.code) == (
        "Could not verify OIDC token claim. Check that the token signature is valid and the token "
        "hasn't expired.",
        401,
        "Unauthenticated",
    )


def _oidc_refusal(changes: dict[str, Any], **header: Any) -> RequestError:
    async def scenario() -> RequestError:
        async with site_of(SIGNER) as site:
            made = verifier(site.provider, web=Web(development=True))
            token = SIGNER.token(claims(iss=site.origin, **changes), SIGNER.header(**header))
            with pytest.raises(RequestError) as caught:
                await made.verify(token)
            return caught.value

    return asyncio.run(scenario())


def test_custom_claims_keep_their_names_and_what_is_nested_gets_a_path() -> None:
    assert shown(
        {
            "email": "a@x",
            "email_verified": True,
            "given_name": "A",
            "nonce": "n",
            "jti": "j",
            "nbf": NOW,
            "props": {"role": "x", "deep": {"er": [1, {"a": 1}]}, "none": {}},
            "n": 3,
            "f": 1.5,
            "null": None,
        }
    ) == {
        "email": "a@x",
        "email_verified": True,
        "given_name": "A",
        "nonce": "n",
        "props.role": "x",
        "props.deep.er": [1, {"a": 1}],
        "n": 3,
        "f": 1.5,
        "null": None,
    }


def test_a_claim_that_is_called_like_a_path_is_the_one_that_is_meant() -> None:
    assert shown({"a.b": 1, "a": {"b": 2}}) == {"a.b": 1}
    assert shown({"a": {"b": 2}, "a.b": 1}) == {"a.b": 1}


def test_claims_that_cannot_be_values_are_left_out() -> None:
    assert shown({"$x": 1, "é": 1, "deep": [{"$x": 1}], "ok": 1, "big": 2**60}) == {
        "ok": 1,
        "big": float(2**60),
    }
    assert refusal(SIGNER.token(claims(**{f"c{n}": 1 for n in range(1100)})), custom(SIGNER))


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_openid_connect_takes_these_algorithms(algorithm: str) -> None:
    signer = Signer(algorithm)

    async def scenario(site: Site) -> None:
        made = verifier(site.provider, web=Web(development=True))
        for header in (signer.header(), signer.header(kid=...)):
            identity = await made.verify(signer.token(claims(iss=site.origin), header))
            assert identity.attributes is not None
            assert identity.attributes["tokenIdentifier"] == f"{site.origin}|user-1"
        lying = signer.header(alg="EdDSA" if algorithm == "RS256" else "RS256")
        for header in (lying, signer.header(alg="none"), signer.header(crit=["exp"])):
            with pytest.raises(RequestError):
                await made.verify(signer.token(claims(iss=site.origin), header))

    async def all_() -> None:
        async with site_of(signer) as site:
            await scenario(site)

    asyncio.run(all_())


def test_openid_connect_does_not_take_other_algorithms() -> None:
    signer = Signer("ES256")

    async def scenario() -> None:
        async with site_of(signer) as site:
            made = verifier(site.provider, web=Web(development=True))
            with pytest.raises(RequestError):
                await made.verify(signer.token(claims(iss=site.origin)))

    asyncio.run(scenario())


def test_discovery_must_name_the_issuer_that_was_asked() -> None:
    async def scenario(named: str) -> str:
        async with site_of(SIGNER, named=named) as site:
            made = verifier(site.provider, web=Web(development=True))
            with pytest.raises(RequestError) as caught:
                await made.verify(SIGNER.token(claims(iss=site.origin)))
            assert (caught.value.status, caught.value.code) == (400, "AuthProviderDiscoveryFailed")
            return str(caught.value).replace(site.origin, "ORIGIN")

    for named in ("https://id.example.com", "", "http://127.0.0.1"):
        assert asyncio.run(scenario(named)) == (
            "Auth provider discovery of ORIGIN failed: its configuration names another issuer"
        )


def test_a_discovery_that_fails_says_what_the_provider_answered_but_in_production() -> None:
    async def scenario(redact: bool) -> str:
        async with site_of(SIGNER) as site:
            provider = OidcProvider(f"{site.origin}/nowhere", AUDIENCE)
            made = verifier(provider, web=Web(development=True), redact=redact)
            with pytest.raises(RequestError) as caught:
                await made.verify(SIGNER.token(claims(iss=f"{site.origin}/nowhere")))
            return str(caught.value).replace(site.origin, "ORIGIN")

    failed = "Auth provider discovery of ORIGIN/nowhere failed"
    assert asyncio.run(scenario(False)) == f"{failed}: 404 nothing here"
    assert asyncio.run(scenario(True)) == failed
