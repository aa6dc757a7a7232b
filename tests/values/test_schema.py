"""Schemas, written as classes or with builders: what they mean, and what they refuse."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from camber.errors import SchemaError, ValidationError
from camber.values.hints import Id, validator_of
from camber.values.id import encode_id
from camber.values.schema import (
    IndexDefinition,
    Schema,
    SchemaDefinition,
    Table,
    TableDefinition,
    define_schema,
    define_table,
    definition_of,
    index,
)
from camber.values.validator import Validator, WholeNumberValidator, v


class Tables:
    def number_of(self, name: str, /) -> int | None:
        return {"_storage": 17}.get(name)

    def name_of(self, number: int, /) -> str | None:
        return {17: "_storage"}.get(number)


class messages(Table):
    author: str
    body: str
    image: Id["_storage"] | None = None  # noqa: F821 (a table, not a name)
    by_author = index("author")


BUILT = define_schema(
    {
        "messages": define_table(
            {
                "author": v.string(),
                "body": v.string(),
                "image": v.optional(v.nullable(v.id("_storage"))),
            }
        ).index("by_author", ["author"])
    }
)


def problem_of(build: Callable[[], object]) -> str:
    with pytest.raises(SchemaError) as raised:
        build()
    return str(raised.value)


def indexed(*fields: str, name: str = "by_x") -> SchemaDefinition:
    table = define_table({"a": v.string(), "b": v.object({"c": v.number()}), "e": v.any()})
    return define_schema({"t": table.index(name, list(fields))})


def test_a_class_and_the_builders_mean_the_same() -> None:
    assert Schema(messages) == BUILT


def test_a_schema_exports_as_the_reference_says() -> None:
    assert BUILT.to_json() == {
        "tables": [
            {
                "tableName": "messages",
                "indexes": [{"indexDescriptor": "by_author", "fields": ["author"]}],
                "stagedDbIndexes": [],
                "searchIndexes": [],
                "stagedSearchIndexes": [],
                "vectorIndexes": [],
                "stagedVectorIndexes": [],
                "documentType": {
                    "type": "object",
                    "value": {
                        "author": {"fieldType": {"type": "string"}, "optional": False},
                        "body": {"fieldType": {"type": "string"}, "optional": False},
                        "image": {
                            "fieldType": {
                                "type": "union",
                                "value": [
                                    {"type": "id", "tableName": "_storage"},
                                    {"type": "null"},
                                ],
                            },
                            "optional": True,
                        },
                    },
                },
            }
        ],
        "schemaValidation": True,
    }
    assert Schema(messages, schema_validation=False).to_json()["schemaValidation"] is False


def test_a_field_with_the_default_none_may_be_absent_null_or_a_value() -> None:
    table = BUILT.tables["messages"]
    fields = {"author": "a", "body": "b"}
    for image in ({}, {"image": None}, {"image": encode_id(17, bytes(16))}):
        table.check({**fields, **image}, Tables())
        assert table.matches({**fields, **image}, Tables())


def test_documents_that_do_not_fit_are_refused_with_the_path() -> None:
    table = BUILT.tables["messages"]
    with pytest.raises(ValidationError, match=r"Path: \.body\n"):
        table.check({"author": "a", "body": 3}, Tables())
    with pytest.raises(ValidationError, match="extra field `room`"):
        table.check({"author": "a", "body": "b", "room": "c"}, Tables())
    assert not table.matches({"author": "a"}, Tables())


def test_a_table_without_validator_takes_every_document() -> None:
    TableDefinition("t", None, {}).check({"anything": [1]}, Tables())
    assert TableDefinition("t", None, {}).to_json()["documentType"] is None
    define_schema({"t": define_table(v.any())}).tables["t"].check({"a": 1}, Tables())


def test_whole_documents_have_the_fields_of_the_system_too() -> None:
    whole = v.object({"_id": v.id("t"), "_creationTime": v.number(), "a": v.null()})
    one = v.object({"a": v.null()})
    schema = define_schema({"t": define_table(one), "u": define_table(v.union(one, one))})
    assert schema.tables["t"].document_validator() == whole
    assert schema.tables["u"].document_validator() == v.union(
        *[whole.extend({"_id": v.id("u")})] * 2
    )
    assert validator_of(messages) == definition_of(messages).document_validator()


def test_system_fields_in_a_validator_are_left_out() -> None:
    table = define_table({"_id": v.id("t"), "_creationTime": v.number(), "a": v.null()})
    assert table.validator == v.object({"a": v.null()})


def test_a_class_may_have_another_name_than_its_table() -> None:
    class Message(Table):
        __tablename__ = "messages"
        body: str

    class Longer(Message):
        more: str

    assert list(Schema(Message).tables) == ["messages"]
    assert list(Schema(Longer).tables) == ["Longer"]


def test_common_fields_and_indexes_are_inherited_from_an_abstract_class() -> None:
    class Owned(Table, abstract=True):
        owner: str
        by_owner = index("owner")

    class notes(Owned):
        text: str
        by_text = index("text", "owner")

    table = Schema(notes).tables["notes"]
    assert table.validator == v.object({"owner": v.string(), "text": v.string()})
    assert dict(table.indexes) == {
        "by_owner": IndexDefinition("by_owner", ("owner",)),
        "by_text": IndexDefinition("by_text", ("text", "owner")),
    }
    assert "abstract Table" in problem_of(lambda: Schema(Owned))


def test_an_index_of_the_base_gives_way_to_one_of_the_same_name() -> None:
    class Owned(Table, abstract=True):
        owner: str
        by_owner = index("owner")

    class notes(Owned):
        text: str
        by_owner = index("owner", "text")

    assert definition_of(notes).indexes["by_owner"].fields == ("owner", "text")


def test_defaults_other_than_none_are_what_an_insert_fills_in() -> None:
    class counters(Table):
        kind: ClassVar[str] = "not a field"
        name: str
        count: int = 0

    table = definition_of(counters)
    assert table.validator == v.object(
        {"name": v.string(), "count": v.optional(WholeNumberValidator())}
    )
    assert dict(table.defaults) == {"count": 0}
    assert dict(definition_of(messages).defaults) == {}


def test_a_field_may_be_named_like_a_method_of_dicts() -> None:
    class orders(Table):
        items: list[str]  # type: ignore[assignment]

    assert definition_of(orders).validator == v.object({"items": v.array(v.string())})


def test_an_attribute_without_type_hint_is_noticed() -> None:
    class notes(Table):
        text = ""

        def shout(self) -> str:
            return self.text.upper()

    assert problem_of(lambda: Schema(notes)) == (
        'Attribute "text" of table "notes" is no index and has no type hint: write its type '
        "after a colon."
    )


def test_a_default_must_fit_its_field() -> None:
    class counters(Table):
        count: int = "0"  # type: ignore[assignment]

    assert problem_of(lambda: Schema(counters)).startswith(
        'The default of field "count" of table "counters" does not fit: Value does not match'
    )


def test_a_wrong_hint_in_a_class_is_told_with_field_and_table() -> None:
    class wrong(Table):
        tags: set[str]

    class unknown(Table):
        other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821 (that is the test)

    assert problem_of(lambda: Schema(wrong)) == (
        'Field "tags" of table "wrong": set[str] is not a type of values. Use list.'
    )
    assert problem_of(lambda: Schema(unknown)).startswith(
        'A field of table "unknown": the name "Nowhere" in its type hint'
    )


def test_a_table_is_defined_once() -> None:
    class other(Table):
        __tablename__ = "messages"

    assert problem_of(lambda: Schema(messages, other)) == 'Table "messages" is defined twice.'


def test_nothing_is_an_instance_of_a_table() -> None:
    assert "insert a dict, as in ctx.db.insert(messages, {…})" in problem_of(messages)


@pytest.mark.parametrize("name", ["has-dash", "1st", "", "a" * 65, "___", "ünder"])
def test_table_names_are_identifiers(name: str) -> None:
    found = problem_of(lambda: define_schema({name: define_table({})}))
    assert "Invalid table name" in found or found == f"{name} is a reserved table name."


def test_table_names_of_the_system_are_reserved() -> None:
    assert problem_of(lambda: define_schema({"_storage": define_table({})})) == (
        "_storage is a reserved table name."
    )


def test_fields_of_documents_do_not_start_with_an_underscore() -> None:
    assert 'In table "t" the field "_x" has a reserved name.' in problem_of(
        lambda: define_schema({"t": define_table(v.union(v.object({"_x": v.any()})))})
    )


@pytest.mark.parametrize(
    "validator", [v.string(), v.record(v.string(), v.any()), v.nullable(v.object({}))]
)
def test_documents_are_objects_unions_of_objects_or_any(validator: Validator) -> None:
    assert problem_of(lambda: define_table(validator)) == (
        "The document validator in a schema must be an object, a union of objects, or `v.any()`. "
        f"Found {validator}. To learn more, see the schema documentation at "
        "https://docs.convex.dev/database/schemas."
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ((), 'In table "t" index "by_x" must have at least one field.'),
        (
            ("a", "a"),
            'In index "by_x": Duplicate field "a". Index fields must be unique within an index.',
        ),
        (
            ("_id",),
            'In index "by_x": `_id` is not a valid index field. To load documents by ID, use '
            "`db.get(id)`.",
        ),
        (
            ("a", "_creationTime"),
            'In index "by_x": `_creationTime` is automatically added to the end of each index. It '
            "should not be added explicitly in the index definition. See "
            "https://docs.convex.dev/using/indexes for more details.",
        ),
        (
            ("_x",),
            'In index "by_x": Reserved fields (starting with `_`) are not allowed in indexes.',
        ),
        (
            ("b.d",),
            'In table "t" the index "by_x" is invalid because it references the field "b.d" that '
            "does not exist.",
        ),
        (
            tuple(f"e.f{n}" for n in range(17)),
            'In index "by_x": Indexes may have up to 16 fields.',
        ),
    ],
)
def test_index_fields_that_are_wrong_are_told(fields: tuple[str, ...], problem: str) -> None:
    assert problem_of(lambda: indexed(*fields)) == problem


def test_index_fields_may_be_nested_and_reach_into_any() -> None:
    assert indexed("a", "b.c", "e.f.g").tables["t"].indexes["by_x"].fields == ("a", "b.c", "e.f.g")
    indexed(*[f"e.f{n}" for n in range(16)])


def test_a_field_of_some_branch_of_a_union_can_be_indexed() -> None:
    table = define_table(v.union(v.object({"a": v.string()}), v.object({"b": v.string()})))
    define_schema({"t": table.index("by_b", ["b"])})


@pytest.mark.parametrize("name", ["by_id", "by_creation_time", "_mine"])
def test_some_index_names_are_reserved(name: str) -> None:
    assert problem_of(lambda: indexed("a", name=name)) == (
        f'In table "t" cannot name an index "{name}" because the name is reserved. Indexes may '
        'not start with an underscore or be named "by_id" or "by_creation_time".'
    )


def test_index_names_are_identifiers() -> None:
    assert problem_of(lambda: indexed("a", name="by-a")) == (
        'Invalid index name: "by-a". Identifiers must be 64 characters or less, start with a '
        "letter, and only contain letters, digits, underscores."
    )


def test_two_indexes_differ_in_name_and_in_fields() -> None:
    table = define_table({"a": v.string(), "b": v.string()}).index("x", ["a"])
    assert problem_of(lambda: define_schema({"t": table.index("x", ["b"])})) == (
        'Table "t" has two or more definitions of index "x".'
    )
    assert problem_of(lambda: define_schema({"t": table.index("y", ["a"])})) == (
        'In table "t" index "x" and index "y" have the same fields. Indexes must be unique '
        "within a table."
    )


def test_a_table_has_at_most_32_indexes() -> None:
    table = define_table({"a": v.any()})
    for number in range(33):
        table = table.index(f"by_{number}", [f"a.f{number}"])
    assert problem_of(lambda: define_schema({"t": table})) == (
        'Table "t" cannot have more than 32 indexes.'
    )


def test_a_single_field_in_place_of_a_list_is_noticed() -> None:
    assert 'must be a list: ["author"]' in problem_of(
        lambda: define_table({"author": v.string()}).index("by_author", "author")
    )


def test_type_checkers_know_the_fields_of_a_document() -> None:
    def first_line(message: messages) -> str:
        body: str = message.body
        made: float = message._creationTime
        same: Any = message["body"]
        return f"{body} {made} {shown(message.image)} {same} {message._id}"

    def shown(image: Id["_storage"] | None) -> str:  # noqa: F821 (a table, not a name)
        return image or "no image"

    assert first_line.__name__ == "first_line"
