"""Type hints: which validator each one means, and what it makes of a value that arrives."""

import collections.abc
import dataclasses
import datetime
import enum
import typing
import uuid
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, TypedDict, Union

import msgspec
import pytest

from camber.errors import SchemaError
from camber.values.hints import Id, shape_of, to_plain, validator_of
from camber.values.schema import Table, index
from camber.values.validator import Validator, WholeNumberValidator, v
from camber.values.value import UNDEFINED, Document, Int64


class NoTables:
    def number_of(self, name: str, /) -> int | None:
        return None

    def name_of(self, number: int, /) -> str | None:
        return None


def loaded(hint: Any, value: Any) -> Any:
    """What the hint makes of a value that its validator lets in."""
    shape = shape_of(hint)
    shape.validator.check(value, NoTables())
    return value if shape.load is None else shape.load(value, NoTables())


def problem_of(hint: Any) -> str:
    with pytest.raises(SchemaError) as raised:
        validator_of(hint)
    return str(raised.value)


class Point(TypedDict):
    x: float
    label: NotRequired[str]


class Place(Point, total=False):
    note: str


@dataclass
class Person:
    name: str
    age: int
    tags: list[str] = dataclasses.field(default_factory=list)


class Reply(msgspec.Struct, rename="camel"):
    reply_to: Person
    seen_at: float | msgspec.UnsetType = msgspec.UNSET


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square"):
    side: float


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


@dataclass
class Tree:
    children: "list[Tree]"


@dataclass
class Lost:
    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821 (that is the test)


class users(Table):
    name: str
    by_name = index("name")


UserId = NewType("UserId", str)
INT = WholeNumberValidator()
PERSON = v.object({"name": v.string(), "age": INT, "tags": v.optional(v.array(v.string()))})


@pytest.mark.parametrize(
    ("hint", "validator"),
    [
        (str, v.string()),
        (int, INT),
        (float, v.number()),
        (bool, v.boolean()),
        (bytes, v.bytes()),
        (None, v.null()),
        (Int64, v.int64()),
        (Any, v.any()),
        (object, v.any()),
        (list, v.array(v.any())),
        (list[int], v.array(INT)),
        (tuple[str, ...], v.array(v.string())),
        (collections.abc.Sequence[str], v.array(v.string())),
        (dict, v.record(v.string(), v.any())),
        (dict[str, float], v.record(v.string(), v.number())),
        (dict[Id["users"], float], v.record(v.id("users"), v.number())),
        (collections.abc.Mapping[str, Any], v.record(v.string(), v.any())),
        (str | None, v.union(v.string(), v.null())),
        (Optional[str], v.union(v.string(), v.null())),  # noqa: UP045 (authors write it)
        (Union[str, int, None], v.union(v.string(), INT, v.null())),  # noqa: UP007 (so too)
        (typing.List[str], v.array(v.string())),  # noqa: UP006 (and this)
        (Literal["a"], v.literal("a")),
        (
            Literal["a", 1, True, None],
            v.union(v.literal("a"), v.literal(1), v.literal(True), v.null()),
        ),
        (Id["users"], v.id("users")),
        (Id["_storage"], v.id("_storage")),
        (Id["users"] | None, v.union(v.id("users"), v.null())),
        (list[Id["users"]], v.array(v.id("users"))),
        (Annotated[str, "a remark"], v.string()),
        (Annotated[list[int], ["unhashable"]], v.array(INT)),
        (UserId, v.string()),
        (Document, v.record(v.string(), v.any())),
        (Point, v.object({"x": v.number(), "label": v.optional(v.string())})),
        (Person, PERSON),
        (Color, v.union(v.literal("red"), v.literal("blue"))),
        (
            Reply,
            v.object({"replyTo": PERSON, "seenAt": v.optional(v.number())}),
        ),
        (Circle, v.object({"type": v.literal("circle"), "radius": v.number()})),
        (
            users,
            v.object({"_id": v.id("users"), "_creationTime": v.number(), "name": v.string()}),
        ),
    ],
)
def test_each_hint_means_its_validator(hint: Any, validator: Validator) -> None:
    assert validator_of(hint) == validator


def test_a_typed_dict_inherits_fields_and_may_leave_out_those_of_a_total_false() -> None:
    text = v.optional(v.string())
    assert validator_of(Place) == v.object({"x": v.number(), "label": text, "note": text})


def test_an_id_may_name_its_table_by_the_class() -> None:
    id_hint: Any = Id
    assert validator_of(id_hint[users]) == v.id("users")


@pytest.mark.parametrize(
    ("hint", "value", "wanted"),
    [
        (int, 3.0, 3),
        (float, 3, 3.0),
        (int | str, 3.0, 3),
        (int | str, "x", "x"),
        (float | int, 3.0, 3.0),
        (int | None, None, None),
        (list[int], [1.0, 2], [1, 2]),
        (dict[str, int], {"a": 1.0}, {"a": 1}),
        (tuple[int, ...], [1.0], (1,)),
        (tuple, [1], (1,)),
        (Literal[1, "a"], 1.0, 1),
        (Color, "red", Color.RED),
        (Level, 2.0, Level.HIGH),
        (Person, {"name": "A", "age": 3.0}, Person("A", 3)),
        (list[Person | None], [{"name": "A", "age": 3}, None], [Person("A", 3), None]),
        (Circle | Square, {"type": "square", "side": 2}, Square(2.0)),
        (Reply, {"replyTo": {"name": "A", "age": 1}}, Reply(Person("A", 1))),
        (Point, {"x": 1}, {"x": 1.0}),
    ],
)
def test_a_value_becomes_what_the_hint_promises(hint: Any, value: Any, wanted: Any) -> None:
    found = loaded(hint, value)
    assert found == wanted
    assert repr(found) == repr(wanted)  # 3 and 3.0 are equal, but not the same promise.


def test_a_document_reads_its_fields_as_attributes() -> None:
    assert loaded(Document, {"body": "x"}).body == "x"


def test_what_needs_no_conversion_is_not_walked() -> None:
    for hint in (str, bool, list[str], dict[str, Any], str | None, Id["users"], Literal["a"]):
        assert shape_of(hint).load is None


def test_objects_become_plain_values_under_the_names_they_arrived_with() -> None:
    person = Person("A", 3, ["x"])
    assert to_plain(Reply(person)) == {"replyTo": {"name": "A", "age": 3, "tags": ["x"]}}
    assert to_plain([Circle(1.0), Color.RED, Level.LOW, (1, UNDEFINED)]) == [
        {"type": "circle", "radius": 1.0},
        "red",
        1,
        [1, UNDEFINED],
    ]
    assert type(to_plain(Color.RED)) is str
    assert to_plain(Int64(3)) == Int64(3)


@pytest.mark.parametrize(
    ("hint", "instead"),
    [
        (datetime.datetime, "Use float (milliseconds since the epoch)."),
        (datetime.date, "Use str"),
        (datetime.timedelta, "Use float (seconds)."),
        (Decimal, "Use str."),
        (uuid.UUID, "Use str."),
        (Path, "Use str."),
        (set, "Use list."),
        (set[str], "Use list."),
        (complex, "Use list[float]."),
        (bytearray, "Use bytes."),
        (collections.abc.Callable, "Use str, int, float, bool, bytes, None, list[…]"),
        (NoTables, "is not a type of values"),
        (tuple[int, str], "Use list[…], tuple[…, ...] or a TypedDict."),
        (dict[int, str], "Records can only have string keys."),
        (dict[Literal["a"], str], "Records cannot have string literal keys"),
        (list["Nowhere"], 'the name "Nowhere" in its type hint is not defined'),  # type: ignore[name-defined]  # noqa: F821 (that is the test)
        (Literal[b"a"], "is not a value"),
        (Tree, "holds itself"),
        (Lost, 'the name "Nowhere" in its type hint in Lost is not defined'),
    ],
)
def test_a_hint_that_is_no_type_of_values_says_what_to_use(hint: Any, instead: str) -> None:
    assert instead in problem_of(hint)


def test_a_refused_hint_is_named_as_it_was_written() -> None:
    assert problem_of(list[datetime.datetime]).startswith("datetime.datetime is not a type of")
    assert problem_of(set[str]).startswith("set[str] is not a type of values")


def test_type_checkers_know_an_id_by_its_table() -> None:
    async def author_of(message: Id["users"]) -> Id["users"]:
        return message

    def as_text(id: Id["users"]) -> str:
        return id.upper()

    assert as_text("users") == "USERS"  # The very text that stands for the ids of the table.
    assert author_of.__name__ == "author_of"
