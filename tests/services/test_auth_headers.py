"""A token's header chooses nothing: no algorithm, no key, no way of being read."""

import json
from typing import Any

import pytest

from camber.functions.auth_config import CustomJwtProvider
from signing import Signer, base64url, claims, custom, data_url, refusal, verify

SIGNER = Signer("RS256")
STRANGER = Signer("RS256", number=1)

# What is refused, although the signature is good.
REFUSED: dict[str, Any] = {
    "crit of something unknown": {"crit": ["exp"]},
    "crit of something known": {"crit": ["kid"], "kid": "key-1"},
    "crit of b64": {"crit": ["b64"], "b64": True},
    "crit that is empty": {"crit": []},
    "crit that is null": {"crit": None},
    "crit that is a text": {"crit": "exp"},
    "crit of a URL": {"crit": ["http://example.com/x"], "http://example.com/x": 1},
    "b64 false": {"b64": False},
    "b64 true": {"b64": True},
    "b64 false and crit": {"b64": False, "crit": ["b64"]},
    "enc": {"enc": "A256GCM"},
    "enc and dir": {"enc": "A128CBC-HS256", "alg": "dir"},
    "zip": {"zip": "DEF"},
    "alg of a key encryption": {"alg": "RSA-OAEP"},
    "alg of password-based encryption": {"alg": "PBES2-HS256+A128KW", "p2c": 2**31},
    "cty JWT": {"cty": "JWT"},
    "cty jwt": {"cty": "jwt"},
    "cty application/jwt": {"cty": "application/jwt"},
    "cty a number": {"cty": 1},
    "typ of a logout token": {"typ": "logout+jwt"},
    "typ of a logout token, written out": {"typ": "application/logout+jwt"},
    "typ of an event": {"typ": "secevent+JWT"},
    "typ of a proof of possession": {"typ": "dpop+jwt"},
    "typ of an introspection": {"typ": "token-introspection+jwt"},
    "typ a number": {"typ": 1},
    "typ null": {"typ": None},
    "kid a number": {"kid": 1},
    "kid a list": {"kid": ["key-1"]},
    "kid null": {"kid": None},
    "kid of a path": {"kid": "../../../../dev/null"},
    "kid of a query": {"kid": "key-1' OR '1'='1"},
    "kid of a URL": {"kid": "https://evil.example/key"},
    "alg twice removed": {"alg": ["RS256"]},
    "alg in lower case": {"alg": "rs256"},
    "alg with a blank": {"alg": "RS256 "},
}

# What is ignored: the key still comes from the provider alone.
IGNORED: dict[str, Any] = {
    "jwk": {"jwk": STRANGER.jwk},
    "jku": {"jku": STRANGER.data_url()},
    "jku inside": {"jku": "http://169.254.169.254/latest/meta-data"},
    "x5u": {"x5u": "http://127.0.0.1:1/cert"},
    "x5c": {"x5c": ["MIIB"]},
    "x5t": {"x5t": "AAAA", "x5t#S256": "AAAA"},
    "what nobody knows": {"https://example.com/x": {"deep": [1, 2, 3]}},
}


def test_there_are_forty_of_them() -> None:
    assert len(REFUSED) + len(IGNORED) + 4 >= 40


@pytest.mark.parametrize("header", REFUSED.values(), ids=REFUSED)
def test_s2_a_header_that_asks_for_something_else_is_refused(header: dict[str, Any]) -> None:
    error = refusal(SIGNER.token(header={**SIGNER.header(), **header}), custom(SIGNER))
    assert error is not None
    assert (error.status, error.code in ("Unauthenticated", "InvalidAuthHeader")) == (401, True)


@pytest.mark.parametrize("header", IGNORED.values(), ids=IGNORED)
def test_s2_keys_that_a_token_brings_are_not_looked_at(header: dict[str, Any]) -> None:
    whole = {**SIGNER.header(), **header}
    assert verify(SIGNER.token(header=whole), custom(SIGNER)).attributes is not None
    assert refusal(STRANGER.token(header=whole), custom(SIGNER)) is not None


@pytest.mark.parametrize(("length", "accepted"), [(16_384, True), (16_385, False)])
def test_s2_a_token_may_have_sixteen_kilobytes(length: int, accepted: bool) -> None:
    token = _of_length(length)
    assert len(token) == length
    assert (refusal(token, custom(SIGNER)) is None) is accepted


def _of_length(length: int) -> str:
    """A good token of that many characters: one of the two parts that can be padded fits."""
    rest = len(base64url(b"x" * 256)) + 2
    for in_header in range(4):
        header = json.dumps(SIGNER.header(x="x" * in_header)).encode()
        room = length - rest - len(base64url(header))
        size = room * 3 // 4
        plain = len(json.dumps(claims(x="")).encode())
        token = SIGNER.token(claims(x="x" * (size - plain)), header)
        if len(token) == length:
            return token
    raise AssertionError("no padding fits")


def test_s2_a_key_set_without_our_keys_says_so() -> None:
    provider = CustomJwtProvider("https://id.example.com", data_url(b'{"keys":[]}'), "RS256")
    error = refusal(SIGNER.token(), provider)
    assert str(error) == (
        "Could not decode token. The JWT's 'kid' (key ID) header is 'key-1', does this key match "
        "any key in the provider's JWKS?"
    )
