"""Finding functions by path."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.errors import LoadError, UserError
from camber.functions.definition import Function, internal_query, mutation, query
from camber.functions.registry import Module, Registry, register


def _body(ctx: Any) -> None: ...


def _module(path: str, **names: object) -> Module:
    return Module(path, f"app.{path.replace('/', '.')}", names)


def _registry(*modules: Module) -> Registry:
    return Registry(register(modules, str(Path(__file__).parent)))


@pytest.fixture
def registry() -> Registry:
    return _registry(
        _module("messages", list_=query(_body), purge=internal_query(_body), other=3),
        _module("sendMessage", default=mutation(_body)),
        _module("dir/file", fn=query(_body)),
    )


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("messages:list", "messages:list"),
        ("messages.js:list", "messages:list"),
        ("messages.py:list", "messages:list"),
        ("messages:purge", "messages:purge"),
        ("sendMessage", "sendMessage:default"),
        ("sendMessage:default", "sendMessage:default"),
        ("dir/file:fn", "dir/file:fn"),
    ],
)
def test_every_spelling_finds_the_function(registry: Registry, written: str, path: str) -> None:
    for _ in range(2):
        function = registry.find(written)
        assert function is not None
        assert function.path == path


@pytest.mark.parametrize(
    "written",
    [
        *("messages", "messages:list_", "messages:other", "Messages:list", "messages:List"),
        *("file:fn", "dir:fn", "dir/file", "__init__:list", "__init__"),
        *("messages:default", "messages:__class__", "sendMessage:sendMessage"),
    ],
)
def test_no_other_spelling_finds_anything(registry: Registry, written: str) -> None:
    assert registry.find(written) is None


@pytest.mark.parametrize(
    "written", ["dir.file", "api.messages.list", "../dir/file:fn", "a:b:c", "m.js.js"]
)
def test_what_is_no_path_is_refused(registry: Registry, written: str) -> None:
    with pytest.raises(UserError, match="is not a valid path to a Convex function"):
        registry.find(written)


PATHS = ("messages:list", "messages:purge", "sendMessage:default", "dir/file:fn")


@given(st.text(st.sampled_from("./:_") | st.characters(), max_size=9), st.sampled_from(PATHS))
def test_a_mutated_path_finds_at_most_what_it_spells(noise: str, path: str) -> None:
    functions: dict[str, Function[Any, Any]] = {path: query(_body) for path in PATHS}
    registry = Registry(functions)
    for written in (noise + path, path + noise, path[:3] + noise + path[3:], noise):
        try:
            found = registry.find(written)
        except UserError:
            continue
        module, _, name = path.partition(":")
        spelled = {path, f"{module}.js:{name}", f"{module}.py:{name}"}
        if found is not None:
            assert written in spelled or written == "sendMessage"


def test_a_registry_lists_each_function_once_in_order(registry: Registry) -> None:
    assert [function.path for function in registry] == sorted(PATHS)
    assert len(registry) == 4


def test_a_trailing_underscore_is_dropped_once() -> None:
    registry = _registry(_module("m", list_=query(_body), set__=query(_body)))
    assert [function.path for function in registry] == ["m:list", "m:set_"]


def test_a_name_of_its_own_wins() -> None:
    registry = _registry(_module("m", list_messages=query(name="list")(_body)))
    assert [function.path for function in registry] == ["m:list"]
    assert registry.find("m:list_messages") is None


def test_a_second_name_in_the_module_is_an_alias() -> None:
    function = query(_body)
    registry = _registry(_module("m", send=function, default=function))
    assert function.path == "m:send"
    assert registry.find("m") is function
    assert len(registry) == 1


def test_one_path_for_two_functions_is_refused_with_both_places() -> None:
    def first(ctx: Any) -> None: ...
    def second(ctx: Any) -> None: ...

    with pytest.raises(LoadError) as caught:
        _registry(_module("m", list_=query(first), x=query(name="list")(second)))
    file = "functions/test_registry.py"
    first_line, second_line = first.__code__.co_firstlineno, second.__code__.co_firstlineno
    assert str(caught.value) == (
        f"m:list is defined twice: at {file}:{first_line} and {file}:{second_line}."
    )


@pytest.mark.parametrize("name", ["a-b", "", "_", "1st", "größe"])
def test_a_name_that_no_path_can_spell_is_refused(name: str) -> None:
    with pytest.raises(LoadError, match="cannot be the name of a function"):
        _registry(_module("m", x=query(name=name)(_body)))


def test_a_function_belongs_to_the_module_of_its_body() -> None:
    function = query(_body)
    function.__module__ = "app.b"
    registry = _registry(_module("a", send=function), _module("b", send=function))
    assert [function.path for function in registry] == ["b:send"]


def test_a_function_made_elsewhere_belongs_to_the_first_module_that_has_it() -> None:
    function = query(_body)
    registry = _registry(_module("b", send=function), _module("a", send=function))
    assert [function.path for function in registry] == ["b:send"]


def test_a_signature_that_cannot_be_is_named_with_its_line() -> None:
    bad: Callable[..., Any] = lambda ctx, x: None  # noqa: E731
    bad.__annotations__["x"] = "Missing"
    with pytest.raises(LoadError, match="Missing") as caught:
        _registry(_module("m", send=query(bad)))
    assert caught.value.line == bad.__code__.co_firstlineno
    assert caught.value.file == "functions/test_registry.py"


def test_a_registered_function_has_its_signature() -> None:
    @query
    def get(ctx: Any, id: str) -> None: ...

    _registry(_module("m", get=get))
    assert get.signature.args is not None
