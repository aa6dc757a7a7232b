"""JSON as text: strict when it is read, fast when it is written.

Reading takes what RFC 8259 allows, and refuses what Python or JavaScript would let through:
`NaN`, lone surrogates, bytes that are not UTF-8. Whole numbers become `int`, others `float`; of
repeated keys the last counts.

Writing takes what JSON has, and what has one common way to be written in it: dates and times
(ISO 8601), UUIDs, decimals and bytes (base64, as in the function API's own JSON) as strings, sets
and tuples as arrays, dataclasses and structs as objects, enums as their value. NaN and infinity
are refused: JSON has no word for them, and `null` would hide a mistake.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

_BYTES = (bytes, bytearray, memoryview)
_BOM = b"\xef\xbb\xbf"
_BYTE = re.compile(r" ?\(byte \d+\)")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)")

_decode = msgspec.json.Decoder().decode


def decode(data: bytes) -> Any:
    """The value that `data` spells.

    Raises:
        json.JSONDecodeError: it is not JSON; says where.
    """
    try:
        return _decode(data)
    except RecursionError:
        raise json.JSONDecodeError("The value is nested too deeply", "", 0) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if data.startswith(_BOM):
            return decode(data[len(_BOM) :])
        raise _fault(data, str(error)) from None


def _fault(data: bytes, said: str) -> json.JSONDecodeError:
    """What is wrong with `data`, in the words and places of Python's own parser."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        return json.JSONDecodeError("Invalid UTF-8", before, len(before))
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return error
    except (ValueError, RecursionError):
        # A constant, or a number of thousands of digits: what was said first serves better.
        return json.JSONDecodeError(_BYTE.sub("", said), text, _place(data, said))
    lone = _lone_surrogate(text)
    if lone is not None:
        return json.JSONDecodeError("Lone surrogate in string", text, lone)
    return json.JSONDecodeError(_BYTE.sub("", said), text, _place(data, said))


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _place(data: bytes, said: str) -> int:
    """The character at which the byte that `said` names stands; 0 if it names none."""
    match = re.search(r"\(byte (\d+)\)", said)
    return 0 if match is None else len(data[: int(match[1])].decode("utf-8", "ignore"))


def _lone_surrogate(text: str) -> int | None:
    """Where the first escaped surrogate without its partner stands."""
    open_high = None
    for match in _ESCAPE.finditer(text):
        code = int(match[1], 16) if match[1] else 0
        paired = open_high is not None and match.start() == open_high + 6
        if 0xDC00 <= code <= 0xDFFF and paired:
            open_high = None
            continue
        if open_high is not None:
            return open_high
        if 0xDC00 <= code <= 0xDFFF:
            return match.start()
        open_high = match.start() if 0xD800 <= code <= 0xDBFF else None
    return open_high


def _plain(value: object) -> object:
    """What stands for a value of a type that the encoder does not know."""
    # Subclasses, such as those that tell an Int64 from a float64, are written as what they are.
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError


_encode_into = msgspec.json.Encoder(enc_hook=_plain).encode_into


def _encode(value: object) -> bytes:
    # Not by `Encoder.encode`, which ends the process when memory runs out, instead of raising.
    text = bytearray()
    _encode_into(value, text)
    return bytes(text)


_pack = msgspec.msgpack.Encoder(enc_hook=_plain).encode
# How MessagePack writes a float64 with all bits of its exponent set. Text, being UTF-8, cannot
# look like this; a number may, by chance, which only costs a closer look.
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search


_REFUSALS = (TypeError, ValueError, OverflowError, msgspec.MsgspecError)
_TOO_DEEP = "the value is nested too deeply, or contains itself"


def encode(value: object) -> bytes:
    """`value` as compact JSON.

    Raises:
        TypeError: it has no form in JSON; says at which path.
    """
    try:
        data = _encode(value)
    except RecursionError:
        raise TypeError(_TOO_DEEP) from None
    except _REFUSALS:
        raise TypeError(_fault_in(value) or f"{type(value).__name__} at $") from None
    # The encoder writes NaN and infinity as null. Looking for them takes as long as encoding did,
    # so it is done only where there is a null at all.
    if b"null" in data and _seems_not_finite(value):
        fault = _fault_in(value)
        if fault is not None:
            raise TypeError(fault)
    return data


def _seems_not_finite(value: object) -> bool:
    """False if there is no NaN and no infinity in `value`; True if there may be."""
    try:
        return _NOT_FINITE(_pack(value)) is not None
    except _REFUSALS:
        return True


def _fault_in(value: object) -> str | None:
    try:
        return _unspeakable(value, "$")
    except RecursionError:
        return _TOO_DEEP


def _unspeakable(value: object, path: str) -> str | None:
    """What in `value` JSON has no form for, and at which path; None if there is nothing."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value!r} at {path}"
    inside: list[tuple[object, str]] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            if _unwritable({key: None}):
                return f"the key {key!r} at {path}"
            inside.append((item, f"{path}.{key}"))
    elif isinstance(value, list | tuple | set | frozenset):
        inside += [(item, f"{path}[{place}]") for place, item in enumerate(value)]
    elif _unwritable(value):
        return f"{type(value).__name__} at {path}"
    elif not isinstance(value, (int, str, *_BYTES)) and _seems_not_finite(value):
        return f"{type(value).__name__} at {path}, which holds NaN or infinity"
    faults = (_unspeakable(item, where) for item, where in inside)
    return next(filter(None, faults), None)


def _unwritable(value: object) -> bool:
    try:
        _encode(value)
    except _REFUSALS:
        return True
    return False
