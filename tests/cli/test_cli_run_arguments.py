"""How people write functions and arguments on the command line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.cli.run import function_path, parse_arguments
from camber.errors import InvalidArgumentError
from camber.functions.path import canonical

names = st.from_regex(r"[a-z][a-zA-Z0-9]{0,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("messages:list", "messages:list"),
        ("messages", "messages:default"),
        ("dir/file", "dir/file:default"),
        ("dir/file:fn", "dir/file:fn"),
        ("api.messages.list", "messages:list"),
        ("internal.messages.list", "messages:list"),
        ("api.dir.file.fn", "dir/file:fn"),
        ("convex/messages.py:list", "messages:list"),
        ("./convex/messages.py", "messages:default"),
        ("convex/messages", "messages:default"),
        ("messages.js:list", "messages:list"),
        ("messages.ts:list", "messages:list"),
        ("api:list", "api:list"),
        ("api", "api:default"),
    ],
)
def test_a_function_is_found_by_what_people_call_it(written: str, path: str) -> None:
    assert function_path(written) == path


def test_the_functions_folder_may_have_another_name() -> None:
    assert function_path("backend/messages.py:list", "backend") == "messages:list"
    assert function_path("convex/messages:list", "backend") == "convex/messages:list"


@pytest.mark.parametrize("written", ["api.messages", "internal.x"])
def test_a_reference_to_no_function_is_refused(written: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        function_path(written)
    assert str(caught.value) == f'Function name has too few parts: "{written}"'


@given(st.lists(names, min_size=1, max_size=3), names)
def test_every_spelling_of_a_function_is_the_same_function(parts: list[str], name: str) -> None:
    path = "/".join(parts) + ":" + name
    written = [path, f"convex/{path}", f"{'/'.join(parts)}.py:{name}"]
    written.append(".".join(["api", *parts, name]))
    if parts[0] != "convex":
        assert {canonical(function_path(spelling)) for spelling in written} == {canonical(path)}


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.booleans())))
def test_arguments_are_the_json_object_that_was_written(arguments: dict[str, object]) -> None:
    assert parse_arguments(json.dumps(arguments)) == arguments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{limit: 5}", "at line 1, column 2.\n    {limit: 5}\n     ^"),
        ('{"a": 1,\n "b": }', 'at line 2, column 7.\n     "b": }\n          ^'),
        ("", "at line 1, column 1."),
        ("[1]", "ARGS must be a JSON object of arguments by name"),
        ("5", "got 5"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_arguments_that_are_no_object_are_told_where(text: str, expected: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_arguments(text)
    assert expected in str(caught.value)
