"""Signatures: what a function's hints make of the arguments of a call and of its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest

from camber.errors import ArgumentValidationError, LoadError, ReturnsValidationError
from camber.values.hints import Id
from camber.values.id import encode_id
from camber.values.schema import Table
from camber.values.signature import Signature, signature_of
from camber.values.validator import Field, WholeNumberValidator, v
from camber.values.value import Document

if TYPE_CHECKING:
    from datetime import datetime


class Tables:
    numbers: Mapping[str, int] = {"messages": 10001}

    def number_of(self, name: str, /) -> int | None:
        return self.numbers.get(name)

    def name_of(self, number: int, /) -> str | None:
        return next((name for name, own in self.numbers.items() if own == number), None)


TABLES = Tables()
MESSAGE = encode_id(10001, bytes(16))


class messages(Table):
    author: str
    body: str


@dataclass
class Author:
    name: str
    posts: int = 0


class Mood(StrEnum):
    GOOD = "good"
    BAD = "bad"


def bound(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    return signature_of(function).bind(arguments, TABLES)


def refusal(signature: Signature, arguments: dict[str, Any]) -> str:
    with pytest.raises(ArgumentValidationError) as raised:
        signature.bind(arguments, TABLES)
    return str(raised.value)


def load_error(function: Callable[..., Any], **options: Any) -> LoadError:
    with pytest.raises(LoadError) as raised:
        signature_of(function, **options)
    return raised.value


async def send(ctx: "datetime", body: str, author: str | None = None, limit: int = 50) -> None: ...


def test_hints_become_validators_and_defaults_make_them_optional() -> None:
    signature = signature_of(send)
    assert signature.args == v.object(
        {
            "body": v.string(),
            "author": v.optional(v.nullable(v.string())),
            "limit": v.optional(WholeNumberValidator()),
        }
    )
    assert signature.returns == v.null()


def test_arguments_that_need_no_conversion_are_handed_on_as_they_are() -> None:
    arguments = {"body": "x", "limit": 3}
    assert signature_of(send).bind(arguments, TABLES) is arguments


def test_an_integral_float_becomes_the_int_that_the_hint_promises() -> None:
    arguments = {"body": "x", "limit": 3.0}
    assert repr(signature_of(send).bind(arguments, TABLES)) == "{'body': 'x', 'limit': 3}"
    assert type(arguments["limit"]) is float


def test_wrong_arguments_are_told_with_their_path() -> None:
    signature = signature_of(send)
    assert refusal(signature, {"body": 1}) == (
        "ArgumentValidationError: Value does not match validator.\nPath: .body\nValue: 1.0\n"
        "Validator: v.string()"
    )
    assert refusal(signature, {}).startswith(
        "ArgumentValidationError: Object is missing the required field `body`."
    )
    assert "contains extra field `room`" in refusal(signature, {"body": "x", "room": "y"})
    assert "(a whole number)" in refusal(signature, {"body": "x", "limit": 1.5})
    assert "Path: .limit" in refusal(signature, {"body": "x", "limit": None})


def test_instances_are_made_of_dicts_at_any_depth() -> None:
    def f(ctx: Any, authors: list[Author], mood: Mood | None = None) -> None: ...

    assert bound(f, authors=[{"name": "A", "posts": 2.0}], mood="bad") == {
        "authors": [Author("A", 2)],
        "mood": Mood.BAD,
    }


def test_a_function_without_hints_takes_any_value_under_its_own_names() -> None:
    def f(ctx, a, b=1): ...  # type: ignore[no-untyped-def]

    signature = signature_of(f)
    assert signature.args == v.object({"a": v.any(), "b": v.optional(v.any())})
    assert signature.returns is None
    assert "extra field `c`" in refusal(signature, {"a": [1], "c": 2})


def test_keyword_only_parameters_are_like_others() -> None:
    def f(ctx: Any, /, *, a: int) -> None: ...

    assert bound(f, a=1.0) == {"a": 1}


def test_further_arguments_are_checked_by_the_hint_of_kwargs() -> None:
    def f(ctx: Any, a: str, **more: int) -> None: ...

    assert bound(f, a="x", b=2.0) == {"a": "x", "b": 2}
    assert "Path: .b" in refusal(signature_of(f), {"a": "x", "b": "y"})


def test_bare_kwargs_take_any_object() -> None:
    def f(ctx: Any, **arguments: Any) -> None: ...

    assert signature_of(f).args is None
    assert bound(f, a=1) == {"a": 1}


def test_explicit_validators_win_over_hints() -> None:
    def f(ctx: Any, limit: int, note: str = "") -> int: ...  # type: ignore[empty-body]

    args: Mapping[str, Field | Any] = {"limit": v.number(), "note": v.optional(v.string())}
    signature = signature_of(f, args=args, returns=v.string())
    assert signature.bind({"limit": 1.5}, TABLES) == {"limit": 1.5}
    assert signature.export("x", TABLES) == "x"
    assert signature_of(f, args=v.any()).args is None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"limit": v.number(), "room": v.any()}, 'f() has no parameter "room"'),
        ({"limit": v.optional(v.number())}, 'Parameter "limit" of f() needs a default'),
        ({}, 'Parameter "limit" of f() has no default and no validator'),
        (v.string(), "Args validator must be an object or any"),
    ],
)
def test_explicit_validators_must_fit_the_parameters(args: Any, message: str) -> None:
    def f(ctx: Any, limit: int) -> None: ...

    assert message in str(load_error(f, args=args))


def test_results_are_checked_against_the_hint() -> None:
    def f(ctx: Any) -> str: ...  # type: ignore[empty-body]

    export = signature_of(f).export
    assert export("x", TABLES) == "x"
    with pytest.raises(ReturnsValidationError) as raised:
        export(None, TABLES)
    assert str(raised.value) == (
        "ReturnsValidationError: Value does not match validator.\n\nValue: null\n"
        "Validator: v.string()"
    )


def test_results_may_be_ids_documents_and_lists_of_them() -> None:
    def an_id(ctx: Any) -> Id["messages"]: ...  # type: ignore[empty-body]
    def a_list(ctx: Any) -> list[messages]: ...  # type: ignore[empty-body]
    def dicts(ctx: Any) -> list[dict[str, Any]]: ...  # type: ignore[empty-body]

    document = Document(_id=MESSAGE, _creationTime=1.5, author="A", body="x")
    assert signature_of(an_id).export(MESSAGE, TABLES) == MESSAGE
    for function in (a_list, dicts):
        documents = [document]
        assert signature_of(function).export(documents, TABLES) is documents
    with pytest.raises(ReturnsValidationError, match="missing the required field `_id`"):
        signature_of(a_list).export([{"author": "A", "body": "x", "_creationTime": 1}], TABLES)


def test_instances_in_results_become_plain_values() -> None:
    def f(ctx: Any) -> dict[str, list[Author | Mood]]: ...  # type: ignore[empty-body]
    def unsaid(ctx: Any): ...  # type: ignore[no-untyped-def]

    result = {"a": [Author("A"), Mood.GOOD]}
    assert signature_of(f).export(result, TABLES) == {"a": [{"name": "A", "posts": 0}, "good"]}
    assert signature_of(unsaid).export(Author("A"), TABLES) == {"name": "A", "posts": 0}
    assert signature_of(unsaid).export(None, TABLES) is None


def test_an_unknown_name_in_a_hint_is_told_with_parameter_file_and_line() -> None:
    def f(ctx: Any, when: "datetime") -> None: ...

    error = load_error(f)
    assert str(error).startswith(
        'Parameter "when" of f(): the name "datetime" in its type hint is not defined.'
    )
    assert error.file == __file__
    assert error.line == f.__code__.co_firstlineno


def test_the_hint_of_the_context_is_not_looked_at() -> None:
    assert signature_of(send).args is not None  # Its name exists for type checkers only.


def test_a_hint_that_is_no_type_of_values_is_told_with_its_place() -> None:
    def f(ctx: Any, tags: set[str]) -> None: ...
    def g(ctx: Any) -> list[set[str]]: ...  # type: ignore[empty-body]

    assert str(load_error(f)) == (
        'Parameter "tags" of f(): set[str] is not a type of values. Use list.'
    )
    assert str(load_error(g)).startswith("The result of g(): set[str] is not a type of values.")


def test_arguments_are_given_by_name_only() -> None:
    def positional(ctx: Any, a: str, /) -> None: ...
    def several(ctx: Any, *rest: str) -> None: ...
    def bare() -> None: ...

    assert 'Parameter "a" of positional() is positional-only' in str(load_error(positional))
    assert "several() takes *rest" in str(load_error(several))
    assert "bare() takes no context" in str(load_error(bare))
    assert signature_of(bare, skip=0).args == v.object({})
