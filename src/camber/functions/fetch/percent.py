"""Percent-encoding: how text that a URL cannot hold as it is gets written into one.

Every part of a URL escapes its own set of characters; the sets are those of the URL standard.
Decoding never fails: what is not a valid escape stays as it is, and bytes that are not UTF-8
become U+FFFD.
"""

import re
from collections.abc import Callable
from urllib.parse import quote_plus, unquote_to_bytes


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())


def _encoder(characters: str) -> Callable[[str], str]:
    """A function that escapes `characters`, controls, and everything beyond ASCII."""
    unsafe = re.compile(f"[^\\x20-\\x7e]|[{re.escape(characters)}]" if characters else "[^ -~]")

    def encode(text: str) -> str:
        return unsafe.sub(_escape, text)

    return encode


_FRAGMENT = ' "<>`'
_QUERY = ' "#<>'
_PATH = _QUERY + "?^`{}"
_USERINFO = _PATH + "/:;=@[\\]|"

encode_opaque = _encoder("")
encode_fragment = _encoder(_FRAGMENT)
encode_query = _encoder(_QUERY)
encode_special_query = _encoder(_QUERY + "'")
encode_path = _encoder(_PATH)
encode_userinfo = _encoder(_USERINFO)


def scalar_text(text: str) -> str:
    """`text` with every lone surrogate replaced by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def decode(text: str) -> str:
    """`text` with its escapes resolved."""
    if "%" not in text:
        return text
    return unquote_to_bytes(text).decode("utf-8", "replace")


def decode_form(text: str) -> str:
    """The same, in the form notation: `+` stands for a space."""
    if "+" in text:
        text = text.replace("+", " ")
    return text if "%" not in text else decode(text)


def encode_form(text: str) -> str:
    """One name or value in the form notation (`application/x-www-form-urlencoded`)."""
    return quote_plus(text, safe="*").replace("~", "%7E")
