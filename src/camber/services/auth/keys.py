"""The public keys of a provider, as its key set (RFC 7517) lists them.

A key is taken only if everything it says of itself agrees with verifying signatures of the one
algorithm that its type is used with here. Which algorithm a token is checked with is thereby the
key's business, never the token's.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from camber.services.auth.token import Token, from_base64url

KEYS_MAX: Final = 100
"""Keys that are looked at in one set."""
RSA_BITS: Final = range(2048, 16384 + 1)

# By the members `kty` and `crv`: the algorithm, and the members that are the public key.
_KINDS: Final = {
    ("RSA", None): ("RS256", ("n", "e")),
    ("EC", "P-256"): ("ES256", ("x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("x",)),
}


@dataclass(frozen=True, slots=True)
class Key:
    """A public key. `material` is of the library that verifies."""

    id: str | None
    algorithm: str
    material: Any = field(repr=False)

    def has_signed(self, token: Token) -> bool:
        """Whether the token's signature was made with the private half."""
        from jwt import get_algorithm_by_name

        algorithm = get_algorithm_by_name(self.algorithm)
        return bool(algorithm.verify(token.signed, self.material, token.signature))


# Compared by identity: a set that was fetched anew and is the same stays the same object.
@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """The keys of a provider at one moment, and the document that they were read from."""

    keys: tuple[Key, ...]
    document: bytes = field(repr=False)

    def named(self, id: str, algorithm: str) -> list[Key]:
        """The keys of that name and algorithm; more than one if the provider is careless."""
        return [key for key in self.keys if key.id == id and key.algorithm == algorithm]

    def only(self, algorithm: str) -> list[Key]:
        """The key of an algorithm that has just one."""
        keys = [key for key in self.keys if key.algorithm == algorithm]
        return keys if len(keys) == 1 else []


def read_keys(document: bytes) -> KeySet:
    """The keys in a key set that can be used; others are passed over.

    Raises:
        ValueError: it is no key set.
    """
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise ValueError('it is no key set: {"keys": […]}')
    keys = (_key(members) for members in listed[:KEYS_MAX] if isinstance(members, dict))
    return KeySet(tuple(key for key in keys if key is not None), document)


def _key(members: dict[str, Any]) -> Key | None:
    """The key, or None if it is not for us."""
    try:
        kind = _KINDS.get((members.get("kty"), members.get("crv")))  # type: ignore[arg-type]  # any JSON
    except TypeError:
        return None
    id = members.get("kid")
    if kind is None or not isinstance(id, str | None):
        return None
    algorithm, names = kind
    if not _is_for_verifying(members, algorithm):
        return None
    material = _material(members, algorithm, names)
    return None if material is None else Key(id, algorithm, material)


def _is_for_verifying(members: dict[str, Any], algorithm: str) -> bool:
    operations = members.get("key_ops", ["verify"])
    return (
        members.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and members.get("alg", algorithm) == algorithm
    )


def _material(members: dict[str, Any], algorithm: str, names: tuple[str, ...]) -> Any:
    """The key as the library knows it. Only public members are handed to it."""
    from jwt import InvalidKeyError, get_algorithm_by_name

    public = {name: members[name] for name in ("kty", "crv", *names) if name in members}
    try:
        for name in names:
            from_base64url(public[name])
        material: Any = get_algorithm_by_name(algorithm).from_jwk(public)
    except (InvalidKeyError, ValueError, KeyError, TypeError):
        return None
    if algorithm == "RS256" and material.key_size not in RSA_BITS:
        return None
    return material
