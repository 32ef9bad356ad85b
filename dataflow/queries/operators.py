"""Filter operators of one field: each checks its operand, adds its bound values, and returns a shape.

A shape is a nested tuple without any value, so equal questions with other values have equal shapes. Leaves are
``(operator, field)``, ``("in", field, number of binds)`` and ``("nin", …)``; :mod:`dataflow.queries.clauses` turns
them into SQL.

Patterns: ``%`` stands for any text, ``_`` for one character, a backslash takes the next character as it is.
``$contains``, ``$startswith`` and ``$endswith`` become patterns too. ``$like`` and these three heed case; ``$ilike``
compares both sides in lower case by the database's Unicode rules (ICU on PostgreSQL), so the few letters whose lower
case depends on their neighbours or on the Unicode version (final sigma, dotted I) may differ between databases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dataflow.databases.interface import Dialect
from dataflow.errors import InvalidFilterError, TypeMismatchError
from dataflow.models import Kind
from dataflow.queries.codecs import FieldCodec

Shape = tuple[Any, ...]

TRUE: Shape = ("true",)
FALSE: Shape = ("false",)

#: Values of one ``$in`` or ``$nin``.
MAX_LIST = 10_000
#: Characters of one pattern.
MAX_PATTERN = 10_000
#: The character that quotes wildcards in patterns sent to PostgreSQL and MySQL.
ESCAPE = "!"

_LIST_TYPES = (list, tuple, set, frozenset)


@dataclass(slots=True)
class Leaves:
    """Where the operators of one filter put their values.

    Attributes:
        owner: Name of the model, for messages.
        dialect: Which database the values are for.
        values: Bound values so far, in order.
    """

    owner: str
    dialect: Dialect
    values: list[Any]


Operator = Callable[[Leaves, FieldCodec, Any], Shape]


def equals(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    """``$eq`` and a plain value; None is IS NULL."""
    spec = codec.spec
    if operand is None:
        return ("null", spec.name)
    if spec.type.kind is Kind.JSON:
        raise _invalid(leaves, codec, "comparing JSON is not in this version yet", "Use $null or $exists.")
    if isinstance(operand, _LIST_TYPES):
        raise _invalid(leaves, codec, "a list is not a value of this field", "Use {'$in': [...]} for any of several.")
    leaves.values.append(codec.bind(operand))
    return ("eq", spec.name)


def _differs(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    return ("ne" if operand is not None else "notnull", equals(leaves, codec, operand)[1])


def _compares(name: str) -> Operator:
    def compare(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
        if operand is None:
            return FALSE
        _check_order(leaves, codec, f"${name}")
        leaves.values.append(codec.bind(operand))
        return (name, codec.spec.name)

    return compare


def _between(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    if not isinstance(operand, list | tuple) or len(operand) != 2:
        raise _invalid(leaves, codec, "$between takes a list of two values", "Write {'$between': [low, high]}.")
    _check_order(leaves, codec, "$between")
    if None in operand:
        return FALSE
    leaves.values.extend([codec.bind(operand[0]), codec.bind(operand[1])])
    return ("between", codec.spec.name)


def _within(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    bound, has_null = _bind_list(leaves, codec, "$in", operand)
    name = codec.spec.name
    if not bound:
        return ("null", name) if has_null else FALSE
    shape = ("in", name, _add_list(leaves, bound))
    return ("or", shape, ("null", name)) if has_null else shape


def _without(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    bound, has_null = _bind_list(leaves, codec, "$nin", operand)
    name = codec.spec.name
    if not bound:
        return ("notnull", name) if has_null else TRUE
    shape = ("nin", name, _add_list(leaves, bound))
    return shape if has_null or not codec.spec.nullable else ("or", shape, ("null", name))


def _is_null(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    return ("null" if _flag(leaves, codec, "$null", operand) else "notnull", codec.spec.name)


def _exists(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    return ("notnull" if _flag(leaves, codec, "$exists", operand) else "null", codec.spec.name)


def _like(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    return _pattern(leaves, codec, "$like", operand, _tokens)


def _contains(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    return _pattern(leaves, codec, "$contains", operand, lambda text: ["%", *_literal(text), "%"])


def _starts_with(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    return _pattern(leaves, codec, "$startswith", operand, lambda text: [*_literal(text), "%"])


def _ends_with(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    return _pattern(leaves, codec, "$endswith", operand, lambda text: ["%", *_literal(text)])


def _like_any_case(leaves: Leaves, codec: FieldCodec, operand: Any) -> Shape:
    shape = _pattern(leaves, codec, "$ilike", operand, _tokens)
    if shape is FALSE:
        return FALSE
    if leaves.dialect is Dialect.SQLITE:
        leaves.values[-1] = leaves.values[-1].lower()
    return ("ilike", shape[1])


#: Operators of a field. ``$not`` is not among them: it takes other operators, so the filter parser owns it.
OPERATORS: Mapping[str, Operator] = {
    "$eq": equals,
    "$ne": _differs,
    "$gt": _compares("gt"),
    "$gte": _compares("gte"),
    "$lt": _compares("lt"),
    "$lte": _compares("lte"),
    "$between": _between,
    "$in": _within,
    "$nin": _without,
    "$null": _is_null,
    "$exists": _exists,
    "$like": _like,
    "$ilike": _like_any_case,
    "$contains": _contains,
    "$startswith": _starts_with,
    "$endswith": _ends_with,
}


def _check_order(leaves: Leaves, codec: FieldCodec, operator: str) -> None:
    if codec.spec.type.kind is Kind.JSON:
        raise _invalid(leaves, codec, f"{operator} does not work on JSON", "JSON has no order.")


def _flag(leaves: Leaves, codec: FieldCodec, operator: str, operand: Any) -> bool:
    if operand is True or operand is False:
        return operand
    raise _mismatch(leaves, codec, f"{operator} takes True or False", operand)


def _bind_list(leaves: Leaves, codec: FieldCodec, operator: str, operand: Any) -> tuple[list[Any], bool]:
    """Driver values without duplicates, and whether None was among them."""
    if not isinstance(operand, _LIST_TYPES):
        raise _mismatch(leaves, codec, f"{operator} takes a list", operand)
    if len(operand) > MAX_LIST:
        raise _invalid(
            leaves,
            codec,
            f"{operator} has {len(operand):,} values, at most {MAX_LIST:,} are taken",
            "Ask in several steps.",
        )
    if codec.spec.type.kind is Kind.JSON:
        raise _invalid(leaves, codec, "comparing JSON is not in this version yet", "Use $null or $exists.")
    bind = codec.bind
    bound = dict.fromkeys(bind(item) for item in operand if item is not None)
    return list(bound), any(item is None for item in operand)


def _add_list(leaves: Leaves, bound: list[Any]) -> int:
    """Add a list's values and return how many binds it takes.

    PostgreSQL takes one array. Elsewhere the last value is repeated up to a power of two, so that lists of any length
    need few shapes.
    """
    if leaves.dialect is Dialect.POSTGRESQL:
        leaves.values.append(bound)
        return 1
    size = 1 << (len(bound) - 1).bit_length()
    leaves.values.extend(bound)
    leaves.values.extend(bound[-1:] * (size - len(bound)))
    return size


def _pattern(
    leaves: Leaves, codec: FieldCodec, operator: str, operand: Any, tokens: Callable[[str], Iterable[str]]
) -> Shape:
    """Bind a pattern, given as tokens: ``%``, ``_``, or a backslash and the character it stands for."""
    if codec.spec.type.kind is not Kind.STR:
        raise _invalid(leaves, codec, f"{operator} works on text, this is {codec.spec.type.label}", None)
    if operand is None:
        return FALSE
    if not isinstance(operand, str) or "\x00" in operand:
        raise _mismatch(leaves, codec, f"{operator} takes text", operand)
    if len(operand) > MAX_PATTERN:
        raise _invalid(leaves, codec, f"{operator} takes at most {MAX_PATTERN:,} characters", None)
    try:
        translate = _GLOB if leaves.dialect is Dialect.SQLITE else _LIKE
        leaves.values.append("".join([translate.get(token) or token[-1] for token in tokens(operand)]))
    except ValueError as error:
        raise _invalid(leaves, codec, str(error), "Double it to mean a backslash.") from None
    return ("like", codec.spec.name)


def _literal(text: str) -> list[str]:
    return [f"\\{character}" for character in text]


def _tokens(pattern: str) -> list[str]:
    found: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            following = next(characters, None)
            if following is None:
                raise ValueError("the pattern ends in a lone backslash")
            found.append(f"\\{following}")
        else:
            found.append(character if character in "%_" else f"\\{character}")
    return found


#: SQLite's LIKE ignores the case of ASCII letters; its GLOB does not.
_GLOB = {"%": "*", "_": "?", "\\*": "[*]", "\\?": "[?]", "\\[": "[[]"}
_LIKE = {"\\%": f"{ESCAPE}%", "\\_": f"{ESCAPE}_", f"\\{ESCAPE}": ESCAPE * 2}


def _invalid(leaves: Leaves, codec: FieldCodec, problem: str, hint: str | None) -> InvalidFilterError:
    name = codec.spec.name
    return InvalidFilterError(f"Filter on {leaves.owner}.{name}: {problem}.", hint=hint, model=leaves.owner, field=name)


def _mismatch(leaves: Leaves, codec: FieldCodec, expected: str, operand: Any) -> TypeMismatchError:
    name = codec.spec.name
    return TypeMismatchError(
        f"Filter on {leaves.owner}.{name}: {expected}, got {type(operand).__name__}.",
        model=leaves.owner,
        field=name,
    )
