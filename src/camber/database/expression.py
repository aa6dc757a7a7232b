"""Filter expressions: plain values that say how to judge a document.

They are data, not code, so that a plan can come from another process or another language. Their
JSON form is `{"$eq": [{"$field": "a.b"}, {"$literal": …}]}`. Python's operators build them too:
`(q.field("room") == room) & (q.field("n") > 3)`.
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from camber.errors import InvalidArgumentError
from camber.values.value import UNDEFINED, Int64, compare, describe
from camber.values.wire import from_wire, parse_json, to_wire

Evaluate = Callable[[Mapping[str, Any]], Any]


class Expression:
    """An expression over a document: an operator and its operands."""

    __slots__ = ("evaluate", "operands", "operator")

    def __init__(self, operator: str, operands: tuple[Any, ...]) -> None:
        self.operator = operator
        self.operands = operands
        # Compiled once, when the expression is built: a filter is asked for every document.
        self.evaluate: Evaluate = _COMPILERS[operator](*operands)

    def __repr__(self) -> str:
        return f"{self.operator}({', '.join(map(repr, self.operands))})"

    def __bool__(self) -> bool:
        raise InvalidArgumentError(
            "A filter expression has no truth value of its own. Combine expressions with & | ~, "
            "or with q.and_(…), q.or_(…), q.not_(…)."
        )

    # Only ever compared to build another expression.
    __hash__ = None  # type: ignore[assignment]  # what cannot be compared has no hash

    def __eq__(self, other: object) -> "Expression":  # type: ignore[override]  # builds, not compares
        return build("eq", self, other)

    def __ne__(self, other: object) -> "Expression":  # type: ignore[override]  # builds, not compares
        return build("neq", self, other)

    def __lt__(self, other: object) -> "Expression":
        return build("lt", self, other)

    def __le__(self, other: object) -> "Expression":
        return build("lte", self, other)

    def __gt__(self, other: object) -> "Expression":
        return build("gt", self, other)

    def __ge__(self, other: object) -> "Expression":
        return build("gte", self, other)

    def __add__(self, other: object) -> "Expression":
        return build("add", self, other)

    def __radd__(self, other: object) -> "Expression":
        return build("add", other, self)

    def __sub__(self, other: object) -> "Expression":
        return build("sub", self, other)

    def __rsub__(self, other: object) -> "Expression":
        return build("sub", other, self)

    def __mul__(self, other: object) -> "Expression":
        return build("mul", self, other)

    def __rmul__(self, other: object) -> "Expression":
        return build("mul", other, self)

    def __truediv__(self, other: object) -> "Expression":
        return build("div", self, other)

    def __rtruediv__(self, other: object) -> "Expression":
        return build("div", other, self)

    def __mod__(self, other: object) -> "Expression":
        return build("mod", self, other)

    def __rmod__(self, other: object) -> "Expression":
        return build("mod", other, self)

    def __neg__(self) -> "Expression":
        return build("neg", self)

    def __and__(self, other: object) -> "Expression":
        return build("and", self, other)

    def __rand__(self, other: object) -> "Expression":
        return build("and", other, self)

    def __or__(self, other: object) -> "Expression":
        return build("or", self, other)

    def __ror__(self, other: object) -> "Expression":
        return build("or", other, self)

    def __invert__(self) -> "Expression":
        return build("not", self)


def build(operator: str, *operands: Any) -> Expression:
    """An expression; operands that are not expressions are literals."""
    return Expression(operator, tuple(_as_expression(operand) for operand in operands))


def field(path: object) -> Expression:
    """A field of the document, by its path: `"a.b"` inside an object. Missing is UNDEFINED."""
    if not isinstance(path, str) or not path:
        raise InvalidArgumentError(f"q.field() takes a field path such as 'author', got {path!r}")
    return Expression("field", (path,))


def literal(value: Any) -> Expression:
    """A value as it stands."""
    return Expression("literal", (value,))


def _as_expression(operand: Any) -> Expression:
    return operand if isinstance(operand, Expression) else literal(operand)


def to_json(expression: Expression) -> Any:
    """The plain form, of JSON values only."""
    if expression.operator == "field":
        return {"$field": expression.operands[0]}
    if expression.operator == "literal":
        value = expression.operands[0]
        if value is UNDEFINED:
            return {"$literal": {"$undefined": None}}
        return {"$literal": parse_json(to_wire(value))}
    return {f"${expression.operator}": [to_json(operand) for operand in expression.operands]}


def from_json(value: Any) -> Expression:
    """The expression that `to_json` wrote.

    Raises:
        InvalidArgumentError: it is not one.
    """
    if not isinstance(value, dict) or len(value) != 1:
        raise InvalidArgumentError(f"Not a filter expression: {value!r}")
    [(name, content)] = value.items()
    if name == "$field":
        return field(content)
    if name == "$literal":
        return literal(UNDEFINED if content == {"$undefined": None} else from_wire(content))
    operator = name.removeprefix("$")
    arity = _ARITIES.get(operator, 0)
    if arity == 0 or not isinstance(content, list) or arity not in (len(content), -1):
        raise InvalidArgumentError(f"Not a filter expression: {value!r}")
    return build(operator, *[from_json(operand) for operand in content])


# Evaluation. Each compiler takes the operands and gives a function of the document.


def _compile_field(path: str) -> Evaluate:
    names = path.split(".")
    if len(names) == 1:
        return lambda document: document.get(path, UNDEFINED)

    def nested(document: Mapping[str, Any]) -> Any:
        value: Any = document
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return UNDEFINED
            value = value[name]
        return value

    return nested


def _compile_literal(value: Any) -> Evaluate:
    return lambda document: value


def _comparison(judge: Callable[[int, int], bool]) -> Callable[..., Evaluate]:
    def compiler(left: Expression, right: Expression) -> Evaluate:
        a, b = left.evaluate, right.evaluate
        return lambda document: judge(compare(a(document), b(document)), 0)

    return compiler


def _arithmetic(verb: str, compute: Callable[[Any, Any], Any]) -> Callable[..., Evaluate]:
    def compiler(left: Expression, right: Expression) -> Evaluate:
        a, b = left.evaluate, right.evaluate
        return lambda document: _apply(verb, compute, a(document), b(document))

    return compiler


def _apply(verb: str, compute: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    if isinstance(left, Int64) and isinstance(right, Int64):
        if verb in ("divide", "mod") and right == 0:
            raise InvalidArgumentError(f"Cannot divide {int(left)} by zero")
        result = compute(int(left), int(right))
        if not -(2**63) <= result < 2**63:
            raise InvalidArgumentError(
                f"Cannot {verb} {int(left)} and {int(right)}: the result is out of range for Int64"
            )
        return Int64(result)
    if _is_float64(left) and _is_float64(right):
        return compute(float(left), float(right))
    raise InvalidArgumentError(
        f"Cannot {verb} {describe(left)} (type {_type_name(left)}) and "
        f"{describe(right)} (type {_type_name(right)})"
    )


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    if right == 0.0:
        if left == 0.0 or math.isnan(left):
            return math.nan
        return math.copysign(math.inf, left) * math.copysign(1.0, right)
    return left / right


def _modulo(left: Any, right: Any) -> Any:
    # The sign of the dividend, as in every engine that shares these expressions.
    if isinstance(left, int):
        return left - right * _divide(left, right)
    if right == 0.0 or math.isinf(left):
        return math.nan
    return math.fmod(left, right)


def _negate(operand: Expression) -> Evaluate:
    evaluate = operand.evaluate

    def negate(document: Mapping[str, Any]) -> Any:
        value = evaluate(document)
        if isinstance(value, Int64):
            if value == -(2**63):
                raise InvalidArgumentError(
                    f"Cannot negate {int(value)}: the result is out of range for Int64"
                )
            return Int64(-int(value))
        if _is_float64(value):
            return -float(value)
        raise InvalidArgumentError(f"Cannot negate {describe(value)} (type {_type_name(value)})")

    return negate


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise InvalidArgumentError(
        f"Expected a boolean in a filter, got {describe(value)} (type {_type_name(value)})"
    )


def _all_of(*operands: Expression) -> Evaluate:
    parts = [operand.evaluate for operand in operands]
    return lambda document: all(_truth(part(document)) for part in parts)


def _any_of(*operands: Expression) -> Evaluate:
    parts = [operand.evaluate for operand in operands]
    return lambda document: any(_truth(part(document)) for part in parts)


def _not(operand: Expression) -> Evaluate:
    evaluate = operand.evaluate
    return lambda document: not _truth(evaluate(document))


def judge(expression: Expression, document: Mapping[str, Any]) -> bool:
    """Whether the filter lets the document through.

    Raises:
        InvalidArgumentError: the expression fails on this document, or is not a boolean.
    """
    return _truth(expression.evaluate(document))


def _is_float64(value: Any) -> bool:
    return type(value) in (int, float)


def _type_name(value: Any) -> str:
    if value is UNDEFINED:
        return "Undefined"
    if value is None:
        return "Null"
    for kind, name in _TYPE_NAMES:
        if isinstance(value, kind):
            return name
    return type(value).__name__


_TYPE_NAMES: Final[tuple[tuple[type, str], ...]] = (
    (Int64, "Int64"),
    (bool, "Boolean"),
    (int, "Float64"),
    (float, "Float64"),
    (str, "String"),
    (bytes, "Bytes"),
    (list, "Array"),
    (dict, "Object"),
)

_COMPILERS: Final[dict[str, Callable[..., Evaluate]]] = {
    "field": _compile_field,
    "literal": _compile_literal,
    "eq": _comparison(operator.eq),
    "neq": _comparison(operator.ne),
    "lt": _comparison(operator.lt),
    "lte": _comparison(operator.le),
    "gt": _comparison(operator.gt),
    "gte": _comparison(operator.ge),
    "add": _arithmetic("add", operator.add),
    "sub": _arithmetic("subtract", operator.sub),
    "mul": _arithmetic("multiply", operator.mul),
    "div": _arithmetic("divide", _divide),
    "mod": _arithmetic("mod", _modulo),
    "neg": _negate,
    "and": _all_of,
    "or": _any_of,
    "not": _not,
}

# How many operands each operator takes; -1: any number.
_ARITIES: Final[dict[str, int]] = {
    **dict.fromkeys(("eq", "neq", "lt", "lte", "gt", "gte"), 2),
    **dict.fromkeys(("add", "sub", "mul", "div", "mod"), 2),
    "neg": 1,
    "not": 1,
    "and": -1,
    "or": -1,
}
