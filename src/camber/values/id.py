"""Document ids: short text that names one document and tells its table.

An id holds the number of its table, sixteen bytes that no other document has, and a checksum, as
31 to 37 characters of lower-case Crockford base 32. Clients treat it as an opaque string. The
bytes and their test vectors are in docs/formats.md.
"""

from collections.abc import Callable
from itertools import accumulate
from secrets import token_bytes
from typing import Final, NamedTuple

from camber.errors import InvalidArgumentError

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
TABLE_NUMBER_MAX: Final = (1 << 32) - 1
INTERNAL_LENGTH: Final = 16
_VERSION: Final = 0
_LENGTH_MIN: Final = 31
_LENGTH_MAX: Final = 37
_MS_PER_DAY: Final = 86_400_000
_CLOCK_BITS: Final = (1 << 40) - 1

_CHARACTERS: Final = ALPHABET.encode() + bytes(256 - len(ALPHABET))
# `int(…, 32)` reads base 32 in C, but with other digits, and takes signs, blanks and underscores;
# whatever is not of our alphabet becomes something it never takes.
_DIGITS: Final = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[ALPHABET.index(chr(c))] if chr(c) in ALPHABET else 0x21
    for c in range(256)
)


class DocumentId(NamedTuple):
    """What an id's text says."""

    table_number: int
    internal: bytes


def encode_id(table_number: int, internal: bytes) -> str:
    """The text of an id.

    Args:
        table_number: from 1 to 2^32 - 1.
        internal: 16 bytes.
    """
    assert 0 < table_number <= TABLE_NUMBER_MAX
    assert len(internal) == INTERNAL_LENGTH
    return _with_checksum(_variable_length(table_number) + internal)


def decode_id(text: str) -> DocumentId:
    """What the id `text` says. Exactly what `encode_id` writes is accepted.

    Raises:
        InvalidArgumentError: not an id.
    """
    if not _LENGTH_MIN <= len(text) <= _LENGTH_MAX:
        raise _undecodable(f"Invalid ID length {len(text)}")
    content = _from_text(text)
    if content is None:
        raise _undecodable("ID wasn't valid base32")
    number, start = _read_number(content)
    if not number:
        raise _undecodable("Invalid table number")
    end = start + INTERNAL_LENGTH
    if len(content) != end + 2:
        raise _undecodable(f"Invalid ID length {len(text)}")
    version = int.from_bytes(content[end:], "little") ^ _fletcher16(content[:end])
    if version != _VERSION:
        raise _undecodable(f"Invalid ID version {version} (expected {_VERSION})")
    return DocumentId(number, content[start:end])


def is_id_of(text: str, table_number: int) -> bool:
    """Whether `text` is an id of this table: what `decode_id` accepts, asked more quickly."""
    if len(text) == 32 and table_number_of(text) == table_number:
        # Twenty bytes exactly, no filling, and the beginning is known to be canonical.
        try:
            content = int(text.encode("ascii").translate(_DIGITS), 32).to_bytes(20)
        except ValueError:
            return False
        return int.from_bytes(content[18:], "little") == _fletcher16(content[:18]) ^ _VERSION
    try:
        return decode_id(text).table_number == table_number
    except InvalidArgumentError:
        return False


def id_range(table_number: int) -> tuple[str, str]:
    """Texts between which all ids of a table lie, and no other's: the first, and one past the last.

    Holds for texts compared as strings, which is how ids are sorted.
    """
    number = _variable_length(table_number)
    # The characters ascend in ASCII, so texts sort as bytes do; all ids of a table are equally
    # long, so whatever is longer than the greatest comes after it.
    return _to_text(number + bytes(18)), _to_text(number + b"\xff" * 18) + ALPHABET[0]


# Beginnings of ids seen before, with the table number and the length they stand for. Four
# characters hold 20 bits: the number, when it takes two bytes at most, and a little more, which
# seldom changes (see IdMint). Cleared when it grows, so that made-up ids cannot fill the memory.
_beginnings: Final[dict[str, tuple[int, int]]] = {}
_BEGINNINGS_MAX: Final = 4096


def table_number_of(text: str) -> int | None:
    """The number of the table that `text` names, if it is an id; None if it cannot be one.

    Cheap: does not look at the checksum.
    """
    beginning = _beginnings.get(text[:4])
    if beginning is None:
        return _read_table_number(text)
    number, length = beginning
    return number if len(text) == length else None


def _read_table_number(text: str) -> int | None:
    if not _LENGTH_MIN <= len(text) <= _LENGTH_MAX:
        return None
    content = _from_text(text[:8])
    if content is None:
        return None
    number, width = _read_number(content)
    if not number:
        return None
    length = _text_length(width + INTERNAL_LENGTH + 2)
    if width <= 2:
        if len(_beginnings) >= _BEGINNINGS_MAX:
            _beginnings.clear()
        _beginnings[text[:4]] = number, length
    return number if len(text) == length else None


class IdMint:
    """Makes ids that nobody has had before, and nobody can guess.

    Args:
        clock_ms: the time, in milliseconds since the Unix epoch.
    """

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._numbers: dict[int, bytes] = {}
        # The clock's part of an id and the day's, as of `_now_ms`: many ids share a millisecond.
        self._now_ms = -1
        self._clock_bytes = b""
        self._day_bytes = b""

    def mint(self, table_number: int) -> str:
        """A new id of the table.

        The first five bytes are the low 40 bits of the clock. So documents that are inserted
        together are neighbours in the store: a batch of inserts touches one page at the end of a
        table instead of as many pages as it has documents, and pages are what a commit costs.
        Nine bytes are random; they are drawn for this id alone and never kept, so that a forked
        process cannot repeat them. Two are the day.
        """
        number = self._numbers.get(table_number)
        if number is None:
            number = self._numbers[table_number] = _variable_length(table_number)
        now_ms = self._clock_ms()
        if now_ms != self._now_ms:
            self._turn_to(now_ms)
        return _with_checksum(number + self._clock_bytes + token_bytes(9) + self._day_bytes)

    def _turn_to(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._clock_bytes = (now_ms & _CLOCK_BITS).to_bytes(5)
        self._day_bytes = (now_ms // _MS_PER_DAY & 0xFFFF).to_bytes(2)


def _undecodable(cause: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"Unable to decode ID: {cause}")


def _with_checksum(content: bytes) -> str:
    return _to_text(content + (_fletcher16(content) ^ _VERSION).to_bytes(2, "little"))


def _fletcher16(content: bytes) -> int:
    """Fletcher's checksum modulo 256: the sum of the bytes, and the sum of all sums so far."""
    sums = list(accumulate(content))
    return (sum(sums) & 0xFF) << 8 | sums[-1] & 0xFF


def _variable_length(number: int) -> bytes:
    """`number` seven bits per byte, the lowest first, the high bit of a byte saying `more`."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _read_number(content: bytes) -> tuple[int, int]:
    """The table number at the beginning of `content`, and how many bytes it takes.

    The number is 0 where there is none, or it is too large, or could be written shorter.
    """
    number = 0
    for place, byte in enumerate(content[:5]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            canonical = number <= TABLE_NUMBER_MAX and (byte > 0 or place == 0)
            return number if canonical else 0, place + 1
    return 0, 0


def _text_length(count: int) -> int:
    """How many characters it takes to write `count` bytes."""
    return (count * 8 + 4) // 5


# Python has no base 32 written in C. So twenty bytes are taken as one integer, whose 32 groups of
# five bits are moved apart until each has a byte of its own: first the two halves of 80 bits, then
# the halves of the halves. Each mask is of the halves that stay where they are.
_HALVES: Final = (1 << 80) - 1
_FORTIES: Final = sum(((1 << 40) - 1) << 128 * lane for lane in range(2))
_TWENTIES: Final = sum(((1 << 20) - 1) << 64 * lane for lane in range(4))
_TENS: Final = sum(((1 << 10) - 1) << 32 * lane for lane in range(8))
_FIVES: Final = sum(((1 << 5) - 1) << 16 * lane for lane in range(16))


def _to_text(content: bytes) -> str:
    """`content` in base 32, the last character filled up with zero bits."""
    count = len(content)
    if count > 20:
        return _to_text(content[:20]) + _to_text(content[20:])
    bits = int.from_bytes(content) << 8 * (20 - count)
    stay = bits & _HALVES
    bits = (bits ^ stay) << 48 | stay
    stay = bits & _FORTIES
    bits = (bits ^ stay) << 24 | stay
    stay = bits & _TWENTIES
    bits = (bits ^ stay) << 12 | stay
    stay = bits & _TENS
    bits = (bits ^ stay) << 6 | stay
    stay = bits & _FIVES
    bits = (bits ^ stay) << 3 | stay
    return bits.to_bytes(32).translate(_CHARACTERS).decode()[: _text_length(count)]


def _from_text(text: str) -> bytes | None:
    """The bytes that `text` is base 32 of, or None if it is of none."""
    try:
        bits = int(text.encode("ascii").translate(_DIGITS), 32)
    except ValueError:
        return None
    count = len(text) * 5 // 8
    filling = len(text) * 5 - count * 8
    if filling > 4 or bits & (1 << filling) - 1:
        return None
    return (bits >> filling).to_bytes(count)
