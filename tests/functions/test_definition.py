"""Decorators, and the names that functions are called by."""

import asyncio
import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.errors import InvalidArgumentError, UserError
from camber.functions.definition import (
    AsyncFunction,
    Decorator,
    Kind,
    PlainFunction,
    action,
    http_endpoint,
    internal_action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)
from camber.functions.path import canonical, display, stored
from camber.functions.reference import api, internal, path_of
from camber.values.validator import v


@mutation
async def send(ctx: Any, body: str, author: str = "nobody") -> str:
    """Send a message."""
    return f"{ctx}: {body} by {author}"


@query(args={"limit": v.number()}, returns=v.number(), name="list")
def list_(ctx: Any, limit: int) -> int:
    return limit + 1


# Decorators.


@pytest.mark.parametrize(
    ("decorator", "kind", "public"),
    [
        (query, Kind.QUERY, True),
        (mutation, Kind.MUTATION, True),
        (action, Kind.ACTION, True),
        (internal_query, Kind.QUERY, False),
        (internal_mutation, Kind.MUTATION, False),
        (internal_action, Kind.ACTION, False),
    ],
)
def test_each_decorator_sets_kind_and_visibility(
    decorator: Decorator, kind: Kind, public: bool
) -> None:
    async def body(ctx: Any) -> None: ...

    for function in (decorator(body), decorator()(body)):
        assert (function.kind, function.public, function.body) == (kind, public, body)


def test_a_called_function_is_its_body() -> None:
    assert asyncio.run(send("ctx", "hi", author="Ada")) == "ctx: hi by Ada"
    assert list_("ctx", 3) == 4


def test_a_function_keeps_what_its_body_says_about_itself() -> None:
    assert send.__name__ == "send"
    assert send.__doc__ == "Send a message."
    assert send.module_file == __file__
    assert repr(send) == "<Mutation send>"


def test_async_and_plain_bodies_are_told_apart() -> None:
    assert isinstance(send, AsyncFunction)
    assert send.is_async
    assert isinstance(list_, PlainFunction)
    assert not list_.is_async


def test_options_are_kept() -> None:
    assert list_.name == "list"
    assert list_.args == {"limit": v.number()}
    assert list_.returns == v.number()


def test_an_endpoint_is_public_and_takes_a_name_only() -> None:
    @http_endpoint(name="post")
    async def endpoint(ctx: Any, request: Any) -> None: ...

    assert (endpoint.kind, endpoint.public, endpoint.name) == (Kind.HTTP, True, "post")


def test_a_body_behind_a_wrapper_is_named_where_it_was_written() -> None:
    def logged(body: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(body)
        def wrapper(ctx: Any, **arguments: Any) -> Any:
            return body(ctx, **arguments)

        return wrapper

    @query
    @logged
    def shown(ctx: Any) -> None: ...

    assert shown.line == shown.body.__wrapped__.__code__.co_firstlineno


class _Model: ...


def _generator(ctx: Any) -> Any:
    yield 1


async def _async_generator(ctx: Any) -> Any:
    yield 1


def _without_context() -> None: ...


def _with_named_context(*, ctx: Any) -> None: ...


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (_Model, "decorates a function, not the class _Model"),
        (3, "decorates a function, not a value of type int"),
        (staticmethod(_without_context), "decorates a function, not a staticmethod"),
        (functools.partial(_generator, 1), "not a value of type partial"),
        (_generator, "is a generator"),
        (_async_generator, "is a generator"),
        (_without_context, r"first parameter is the context: `def _without_context\(ctx, …\)`"),
        (_with_named_context, "first parameter is the context"),
        (send, "send, which is defined as Mutation already"),
    ],
)
def test_what_is_no_function_is_refused(body: Any, text: str) -> None:
    for decorator in (query, mutation, action, http_endpoint):
        decorate: Any = decorator
        with pytest.raises(TypeError, match=text):
            decorate(body)


def test_a_coroutine_is_refused_and_closed() -> None:
    decorate: Any = query
    with pytest.raises(TypeError, match="without calling it"):
        decorate(send("ctx", "hi"))


def test_a_plain_endpoint_is_refused() -> None:
    decorate: Any = http_endpoint

    def endpoint(ctx: Any, request: Any) -> None: ...

    with pytest.raises(TypeError, match="needs an `async def`"):
        decorate(endpoint)


def test_an_unknown_option_is_refused() -> None:
    decorate: Any = query
    with pytest.raises(TypeError, match="@query has no option arguments"):
        decorate(arguments={})


# Paths.


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("messages:list", "messages:list"),
        ("messages.js:list", "messages:list"),
        ("messages.py:list", "messages:list"),
        ("messages", "messages:default"),
        ("sendMessage.js", "sendMessage:default"),
        ("dir/file:fn", "dir/file:fn"),
        ("dir/file", "dir/file:default"),
    ],
)
def test_a_path_has_one_canonical_spelling(written: str, expected: str) -> None:
    assert canonical(written) == expected


def test_display_and_stored_spellings() -> None:
    assert display("messages:list") == "messages:list"
    assert display("sendMessage:default") == "sendMessage"
    assert stored("sendMessage:default") == "sendMessage.js:default"


@pytest.mark.parametrize(
    "written",
    [
        *("", ":", ":fn", "messages:", "a:b:c", "../secret:fn", "./a:fn", "..", "/a:fn", "a//b:fn"),
        *("a/:fn", "mädchen:fn", "messages:größe", "messages.ts:list", "a b:c", "_:fn", "a:_"),
        *("a:1st", "a:b-c", "a" * 65 + ":fn", "a:" + "b" * 65, "a\x00:fn", "a:fn\n", "a\n:fn"),
    ],
)
def test_what_is_no_path_is_refused_by_name(written: str) -> None:
    with pytest.raises(UserError) as caught:
        canonical(written)
    assert caught.value.code == "BadConvexFunctionIdentifier"
    assert str(caught.value).startswith(f"{written} is not a valid path to a Convex function. ")


@given(st.text(st.sampled_from("ab_./:1é\n") | st.characters(), max_size=12))
def test_a_canonical_path_is_its_own_canonical_spelling(written: str) -> None:
    try:
        path = canonical(written)
    except UserError:
        return
    assert canonical(path) == path
    assert path.count(":") == 1
    assert path.isascii()
    assert ".." not in path.split("/")


# References.


def test_a_reference_names_a_function_by_attributes() -> None:
    assert str(api.messages.send) == "messages:send"
    assert str(internal.dir.file.fn) == "dir/file:fn"
    assert str(api.sendMessage.default) == "sendMessage"
    assert repr(internal.dir.file.fn) == "internal.dir.file.fn"


def test_references_are_equal_when_they_name_the_same() -> None:
    assert api.messages.send == internal.messages.send
    assert hash(api.messages.send) == hash(internal.messages.send)
    assert api.messages.send != api.messages.list


def test_a_module_alone_is_no_reference() -> None:
    with pytest.raises(InvalidArgumentError, match=r"Found: `api\.messages`"):
        path_of(api.messages)


def test_a_called_reference_says_what_to_do_instead() -> None:
    with pytest.raises(TypeError, match=r"api\.messages\.send is a name, not a function"):
        api.messages.send("hi")


def test_references_can_be_copied() -> None:
    assert copy.deepcopy(api.messages.send) == api.messages.send


def test_the_path_of_anything_that_names_a_function() -> None:
    @query
    def function(ctx: Any) -> None: ...

    function.register("messages:list", None)
    assert path_of(function) == "messages:list"
    assert path_of("messages.js:list") == "messages:list"
    assert path_of(api.messages.list) == "messages:list"


def test_a_function_outside_of_an_app_has_no_path() -> None:
    with pytest.raises(InvalidArgumentError, match="send is not a function of this app"):
        path_of(send)


def test_what_names_no_function_has_no_path() -> None:
    target: Any = 3
    with pytest.raises(InvalidArgumentError, match="got a value of type int"):
        path_of(target)
