"""Nobody gets in but by a signature of the provider's key, made with the algorithm it is for."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from camber.functions.auth_config import CustomJwtProvider
from camber.services.auth.keys import read_keys
from camber.services.auth.token import read_token
from signing import (
    AUDIENCE,
    ISSUER,
    Signer,
    base64url,
    claims,
    custom,
    data_url,
    outcomes,
    private_key,
    refusal,
    verify,
)

RSA, EC = Signer("RS256"), Signer("ES256")
OTHERS = (
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256"),
    *("PS384", "ES256", "ES384", "ES512", "EdDSA"),
)
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.parametrize("signer", [RSA, EC], ids=["RS256", "ES256"])
def test_s1_no_token_that_was_tampered_with_is_accepted(signer: Signer) -> None:
    invalid = dict(tampered(signer))
    assert len(invalid) >= 350
    accepted = [name for name, error in outcomes(invalid, custom(signer)).items() if error is None]
    assert accepted == []


@pytest.mark.parametrize("signer", [RSA, EC], ids=["RS256", "ES256"])
def test_s1_tokens_that_are_as_they_must_be_are_accepted(signer: Signer) -> None:
    valid = {
        "plain": signer.token(),
        "without a type": signer.token(header=signer.header(typ=...)),
        "an access token": signer.token(header=signer.header(typ="at+jwt")),
        "several audiences": signer.token(claims(aud=["other", AUDIENCE])),
        "times with fractions": signer.token(claims(exp=claims()["exp"] + 0.5)),
        "spaces in the JSON": signer.token(json.dumps(claims(), indent=4).encode()),
        "more than ASCII": signer.token(json.dumps(claims(n="é💥"), ensure_ascii=False).encode()),
    }
    assert [e for e in outcomes(valid, custom(signer)).values() if e is not None] == []


def test_s1_no_odd_signature_is_of_an_edwards_key() -> None:
    signer = Signer("EdDSA")
    (key,) = read_keys(signer.key_set()).named("key-1", "EdDSA")
    assert key.has_signed(read_token(signer.token()))
    odd = dict(_signatures(signer, signer.token()))
    del odd["signature: none"]
    assert [name for name, token in odd.items() if key.has_signed(read_token(token))] == []


def test_s1_a_point_beside_the_curve_is_no_key() -> None:
    signer = Signer("ES256", said={"y": base64url(b"\x01" * 32)})
    assert read_keys(signer.key_set()).keys == ()


@pytest.mark.parametrize("exponent", ["AQ", "Ag", "AA", "AAAB"])
def test_s1_an_exponent_that_hides_nothing_makes_no_key(exponent: str) -> None:
    assert read_keys(Signer("RS256", said={"e": exponent}).key_set()).keys == ()


def tampered(signer: Signer) -> Iterator[tuple[str, str]]:
    token = signer.token()
    for make in (_other_algorithms, _public_key_as_secret, _signatures, _flips, _texts, _shapes):
        yield from make(signer, token)


def _other_algorithms(signer: Signer, token: str) -> Iterator[tuple[str, str]]:
    """What the header says is not what is done."""
    nones: list[Any] = [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        None,
        0,
        [],
        ["none"],
        {},
        True,
        ...,
        "X",
    ]
    for alg in nones:
        unsigned = signer.token(header=signer.header(alg=alg)).rpartition(".")[0]
        for signature in ("", "AA", token.rpartition(".")[2]):
            yield f"alg {alg!r} with {signature[:9]!r}", f"{unsigned}.{signature}"
    for alg in OTHERS:
        if alg != signer.algorithm:
            yield f"says {alg}", signer.token(header=signer.header(alg=alg))
    if signer.algorithm == "RS256":
        for alg in ("RS384", "RS512", "PS256", "PS384", "PS512"):
            header = signer.header(alg=alg)
            yield f"truly signed with {alg}", signer.token(header=header, algorithm=alg)
            yield f"secretly signed with {alg}", signer.token(algorithm=alg)
    other = Signer(signer.algorithm, number=1)
    yield "signed by a stranger", other.token()
    yield "signed by a stranger who brings the key", other.token(header=other.header(jwk=other.jwk))
    yield (
        "signed by a stranger with a link to the key",
        other.token(header=other.header(jku=other.data_url())),
    )
    for id in ("key-2", "", "KEY-1", "key-1 ", None, "key-1\x00", "../key-1", "k"):
        yield f"key ID {id!r}", signer.token(header={"alg": signer.algorithm, "kid": id})
    yield "no key ID", signer.token(header={"alg": signer.algorithm})


def _public_key_as_secret(signer: Signer, token: str) -> Iterator[tuple[str, str]]:
    public = signer.private.public_key()
    secrets = {
        "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "JWK": json.dumps(signer.jwk).encode(),
        "number": str(signer.jwk.get("n", signer.jwk.get("x"))).encode(),
        "nothing": b"",
    }
    for name, secret in secrets.items():
        for bits in ("256", "384", "512"):
            for claimed in (f"HS{bits}", signer.algorithm):
                header = signer.header(alg=claimed)
                signed = ".".join(base64url(json.dumps(p).encode()) for p in (header, claims()))
                mac = hmac.digest(secret, signed.encode(), getattr(hashlib, f"sha{bits}"))
                yield f"HMAC {bits} by {name} as {claimed}", f"{signed}.{base64url(mac)}"


def _signatures(signer: Signer, token: str) -> Iterator[tuple[str, str]]:
    signed = token.rpartition(".")[0]
    good = signer.sign(signed.encode())
    size = len(good)
    wrong: dict[str, bytes] = {f"byte {i} flipped": _flip(good, i) for i in range(0, size, 2)}
    wrong |= {f"{n} bytes short": good[:-n] for n in (1, 2, 31, 32, size // 2)}
    wrong |= {f"{n} bytes more": good + bytes(n) for n in (1, 2, 32)}
    wrong |= {"zeros": bytes(size), "ones": b"\xff" * size, "zero before": b"\x00" + good}
    wrong |= {"of other content": signer.sign(b"x"), "twice": good * 2}
    wrong |= {"of the payload alone": signer.sign(token.split(".")[1].encode())}
    if signer.algorithm == "ES256":
        r, s = int.from_bytes(good[:32]), int.from_bytes(good[32:])
        wrong["as DER"] = encode_dss_signature(r, s)
        numbers = {"0": 0, "1": 1, "n": P256_ORDER, "n-1": P256_ORDER - 1}
        for a, x in {"r": r, **numbers}.items():
            for b, y in {"s": s, **numbers}.items():
                if (a, b) != ("r", "s"):
                    wrong[f"r={a} s={b}"] = x.to_bytes(32) + y.to_bytes(32)
    for name, signature in wrong.items():
        yield f"signature: {name}", f"{signed}.{base64url(signature)}"
    yield "signature: none", f"{signed}."
    yield "signature: as hex", f"{signed}.{good.hex()}"


def _flips(signer: Signer, token: str) -> Iterator[tuple[str, str]]:
    """One character of header or payload is another."""
    for place in range(0, token.rindex("."), 2):
        if token[place] != ".":
            changed = "A" if token[place] != "A" else "B"
            yield f"character {place} is {changed}", f"{token[:place]}{changed}{token[place + 1 :]}"


def _texts(signer: Signer, token: str) -> Iterator[tuple[str, str]]:
    """The same bytes, written in another way."""
    parts = token.split(".")
    ways: dict[str, Callable[[str], str]] = {
        "padded": lambda part: part + "=",
        "padded twice": lambda part: part + "==",
        "padded fully": lambda part: part + "=" * (-len(part) % 4 or 4),
        "with a line break": lambda part: part[:8] + "\n" + part[8:],
        "with a line break after it": lambda part: part + "\n",
        "with a blank": lambda part: part[:8] + " " + part[8:],
        "with a blank before": lambda part: " " + part,
        "with a NUL": lambda part: part + "\x00",
        "with a plus": lambda part: part + "+",
        "with a slash": lambda part: "/" + part,
        "with a stray letter": lambda part: part + "A",
        "with four": lambda part: part + "AAAA",
        "with other digits": lambda part: part[:-1] + "１",
        "with a percent escape": lambda part: f"%{ord(part[0]):x}{part[1:]}",
        "with stray bits": _stray_bits,
    }
    for number in range(3):
        for name, change in ways.items():
            changed = change(parts[number])
            if changed != parts[number]:
                yield (
                    f"part {number} {name}",
                    ".".join([*parts[:number], changed, *parts[number + 1 :]]),
                )


def _stray_bits(part: str) -> str:
    """Bits set that decoders ignore; nothing changed where there are none."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part if len(part) % 4 == 0 else part[:-1] + alphabet[alphabet.index(part[-1]) | 1]


def _shapes(signer: Signer, token: str) -> Iterator[tuple[str, str]]:
    header, payload, signature = token.split(".")
    yield from {
        "nothing": "",
        "a dot": ".",
        "dots": "..",
        "one part": header,
        "two parts": f"{header}.{payload}",
        "four parts": f"{token}.",
        "five parts": f"{token}.{payload}.{signature}",
        "no header": f".{payload}.{signature}",
        "no payload": f"{header}..{signature}",
        "swapped": f"{payload}.{header}.{signature}",
        "quoted": f'"{token}"',
        "twice": token * 2,
        "with the scheme": f"Bearer {token}",
        "as JSON": json.dumps({"protected": header, "payload": payload, "signature": signature}),
        "detached": f"{header}..{base64url(signer.sign(f'{header}.{payload}'.encode()))}",
    }.items()
    documents: dict[str, Any] = {
        "null": b"null",
        "a list": b"[]",
        "a text": b'"x"',
        "cut off": json.dumps(claims()).encode()[:-1],
        "more after it": json.dumps(claims()).encode() + b"{}",
        "a byte order mark": b"\xef\xbb\xbf" + json.dumps(claims()).encode(),
        "UTF-16": json.dumps(claims()).encode("utf-16"),
        "not UTF-8": b'{"iss":"\xff"}',
        "half a character": b'{"a":"\\ud800",' + json.dumps(claims()).encode()[1:],
        "a name twice": json.dumps(claims()).encode()[:-1] + b',"sub":"admin"}',
        "a name twice inside": json.dumps(claims()).encode()[:-1] + b',"x":{"a":1,"a":2}}',
        "NaN": json.dumps(claims()).encode()[:-1] + b',"x":NaN}',
        "Infinity": json.dumps(claims()).encode()[:-1] + b',"x":Infinity}',
        "1e999": json.dumps(claims()).encode()[:-1] + b',"x":1e999}',
        "too deep": b"[" * 6000 + b"]" * 6000,
    }
    for name, document in documents.items():
        yield f"payload is {name}", signer.token(document)
        yield f"header is {name}", signer.token(header=document)


def _flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


# ---- keys that are not for this ----

UNFIT: dict[str, dict[str, Any]] = {
    "for encryption": {"use": "enc"},
    "for no known use": {"use": "tls"},
    "of a use that is no text": {"use": ["sig"]},
    "of no use": {"use": None},
    "for signing only": {"key_ops": ["sign"]},
    "for encrypting": {"key_ops": ["encrypt", "wrapKey"]},
    "for nothing": {"key_ops": []},
    "with operations that are no list": {"key_ops": "verify"},
    "for RS512": {"alg": "RS512"},
    "for PS256": {"alg": "PS256"},
    "for RSA encryption": {"alg": "RSA-OAEP-256"},
    "for HMAC": {"alg": "HS256"},
    "for none": {"alg": "none"},
    "for another curve's algorithm": {"alg": "ES384"},
    "of another type": {"kty": "oct", "k": "AAAA"},
    "of an unknown type": {"kty": "lattice"},
    "of no type": {"kty": ...},
    "of a type that is a list": {"kty": ["RSA"]},
    "of another curve": {"crv": "P-384"},
    "of a curve with the wrong points": {"crv": "Ed25519"},
    "with another name": {"kid": "key-2"},
    "with no name": {"kid": ...},
    "whose name is a number": {"kid": 1},
    "without its number": {"n": ..., "x": ...},
    "with padding": {"n": "AQAB==", "x": "AQAB=="},
    "with an empty number": {"n": "", "x": ""},
    "with a number that is none": {"n": 65537, "x": 65537},
    "with another number": {"n": "AQAB", "x": "AQAB"},
}


@pytest.mark.parametrize("said", UNFIT.values(), ids=UNFIT)
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_s1_a_key_that_is_not_for_verifying_signatures_verifies_none(
    algorithm: str, said: dict[str, Any]
) -> None:
    signer = Signer(algorithm, said=said)
    error = refusal(Signer(algorithm).token(), custom(signer))
    assert error is not None
    assert error.code == "InvalidAuthHeader"
    assert "'kid' (key ID) header is 'key-1'" in str(error)


def test_s1_a_short_rsa_key_is_no_key() -> None:
    weak = private_key("RS256", 9, 1024)
    numbers = weak.public_key().public_numbers()
    jwk = {"kty": "RSA", "kid": "key-1", "n": _number(numbers.n), "e": _number(numbers.e)}
    signer = Signer("RS256", said=jwk)
    assert refusal(signer.token(), custom(signer)) is not None


def test_s1_what_is_private_in_a_key_set_is_not_looked_at() -> None:
    signer = Signer("RS256", said={"d": "AQAB", "p": "x"})
    assert verify(signer.token(), custom(signer)).attributes is not None


def test_s4_of_keys_with_one_name_any_may_have_signed() -> None:
    keys = [Signer("RS256", number=n) for n in (0, 1)] + [Signer("ES256")]
    document = json.dumps({"keys": [key.jwk for key in keys]}).encode()
    provider = CustomJwtProvider(ISSUER, data_url(document), "RS256", AUDIENCE)
    tokens = {str(n): key.token() for n, key in enumerate(keys)}
    told = outcomes(tokens, provider)
    assert [told[name] is None for name in ("0", "1", "2")] == [True, True, False]


def _number(number: int) -> str:
    return base64url(number.to_bytes((number.bit_length() + 7) // 8))
