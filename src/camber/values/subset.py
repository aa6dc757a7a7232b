"""Whether one validator lets in no more than another.

A push asks it of each table's old and new validator: where the new one lets in everything that
the old one did, the documents need not be read again.
"""

from collections.abc import Mapping

from camber.values.validator import (
    ArrayValidator,
    Field,
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    RecordValidator,
    ScalarValidator,
    UnionValidator,
    Validator,
    WholeNumberValidator,
    is_whole,
)


def implies(narrow: Validator, wide: Validator) -> bool:
    """Whether every value that matches `narrow` surely matches `wide`.

    May say no when the answer is yes, never the reverse: a yes means that documents which were
    checked against `narrow` need not be read again for `wide`.
    """
    if narrow == wide or wide == ScalarValidator("any"):
        return True
    if isinstance(narrow, UnionValidator):
        return all(implies(member, wide) for member in narrow.members)
    if isinstance(wide, UnionValidator):
        return any(implies(narrow, member) for member in wide.members) or (
            narrow == ScalarValidator("boolean")
            and all(implies(LiteralValidator(each), wide) for each in (True, False))
        )
    match narrow, wide:
        case LiteralValidator(), ScalarValidator(kind):
            return narrow.kind == kind
        case LiteralValidator(value), WholeNumberValidator():
            return is_whole(value)
        case WholeNumberValidator(), ScalarValidator("number"):
            return True
        case IdValidator(), ScalarValidator("string"):
            return True
        case ArrayValidator(element), ArrayValidator(wider):
            return implies(element, wider)
        case RecordValidator(keys, values), RecordValidator(wider_keys, wider_values):
            return implies(keys, wider_keys) and implies(values, wider_values)
        case ObjectValidator(rest=None), RecordValidator(ScalarValidator("string"), values):
            return all(implies(each.validator, values) for each in narrow.fields.values())
        case ObjectValidator(rest=None), ObjectValidator(rest=None):
            return _fields_imply(narrow.fields, wide.fields)
    return False


def _fields_imply(narrow: Mapping[str, Field], wide: Mapping[str, Field]) -> bool:
    if not narrow.keys() <= wide.keys():
        return False
    return all(
        (each.optional or not narrow[name].optional)
        and implies(narrow[name].validator, each.validator)
        if name in narrow
        else each.optional
        for name, each in wide.items()
    )
