"""Values of every kind of field: nasty ones, ones near another, other ways to write one, and ones that are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from dataflow.models import FieldType, Kind

Values = st.SearchStrategy[Any]

ALPHABET = "aAΣσςİıẞȺⱥაbBkKzZ \t\n'\"`\\%_!*?[]^-$;éÉñßжЖωΩàÀ漢😀\u0301\u212a\xa0\u200d\ufeff"
TEXTS = [
    *("", " ", "a", "A", "a ", "a  ", " a", "ab", "aB", "abc", "b", "B", "0", "00", "1e3", "null", "NULL", "$a", "{}"),
    *("é", "e\u0301", "É", "ß", "ss", "\u212a", "k", "K", "ÿ", "Ÿ", "ñ", "~", "\x7f", "\x01", "\u2028"),
    *("%", "_", "%a", "a_", "\\", "\\%", "\\\\", "!", "!!", "!%", "*", "?", "[", "[a]", "]", "[^a]", "a-z", "'", '"'),
    *(
        "a\nb",
        "a\r\n",
        "\t",
        "a;b",
        "--",
        "/*",
        "🎈",
        "🎈a",
        "\uffff",
        "\U00010000",
        "👩\u200d🚀",
        "?1",
        "$1",
        "%s",
        "%%",
        ":a",
    ),
]
#: They differ where a server that only looks at the first kilobyte does not see it.
LONG_TEXTS = ["long " * 300 + end for end in ("", "a", "A", "b", " ")]
BIG = 2**63
INTS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    10,
    100,
    2**31,
    -(2**31) - 1,
    2**53,
    2**53 + 1,
    -(2**53) - 1,
    BIG - 1,
    BIG - 2,
    -BIG,
    1 - BIG,
]
FLOATS = [0.0, 1.0, -1.0, 0.5, 2.0, 0.1, 0.3, 0.1 + 0.2, 1 / 3, -2.5, 1e-7, 1e15, 1e16, 1e22, 2.0**53, 1e100]
FLOATS += [1e308, -1e308, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 123456789.987654321]
MOMENTS = [
    datetime(1, 1, 1),
    datetime(1, 1, 1, 0, 0, 0, 1),
    datetime(999, 12, 31, 23, 59, 59, 999999),
    datetime(1969, 12, 31, 23, 59, 59, 999999),
    datetime(1970, 1, 1),
    datetime(2026, 3, 29, 1, 59, 59, 999999),
    datetime(2026, 3, 29, 2),
    datetime(2026, 10, 25, 0, 30),
    datetime(2026, 10, 25, 1, 30),
    datetime(2024, 2, 29, 12, 0, 0, 500000),
    datetime(2038, 1, 19, 3, 14, 8),
    datetime(9999, 12, 31, 23, 59, 59, 999999),
]
DATES = [
    date.min,
    date(999, 12, 31),
    date(1582, 10, 10),
    date(1970, 1, 1),
    date(2024, 2, 29),
    date(2026, 1, 1),
    date.max,
]
TIMES = [time.min, time(0, 0, 0, 1), time(1, 2, 3), time(12), time(23, 59, 59), time(23, 59, 59, 999999)]
DELTAS = [0, 1, -1, 999_999, 1_000_000, 86_400_000_000, -86_400_000_001, 2**53 + 1, BIG - 1, -BIG]
UUIDS = [UUID(int=number) for number in (0, 1, 2**64, 2**127, 0xABCDEF << 100, 2**128 - 1)]
BYTES = [
    b"",
    b"\0",
    b"\0\0",
    b"\x00a",
    b"a",
    b"A",
    b"a ",
    b"ab",
    b"'",
    b"\\",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff",
    b"%",
]
ZONES = [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), timezone(timedelta(hours=-9, minutes=-30))]

_JSON_LEAVES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        BIG - 1,
        -BIG,
        2**53 + 1,
        0.5,
        0.1 + 0.2,
        -1.5,
        1e-300,
        -0.0,
        {"a": -0.0, "b": [-0.0, -0.01, 1e16, "-0.0"]},
        "",
        "a",
        "é",
        '"',
        "\\",
        "🎈",
        "$a",
        "\n",
    ]
)
#: What places in JSON are compared with.
JSON_SCALARS: Values = st.sampled_from(
    [None, True, False, 0, 1, 1.0, -1, 0.5, 2**53 + 1, BIG - 1, 1e300, "", "a", "A", "é"]
)
_JSON_KEYS = st.sampled_from(["", "a", "A", "b", "é", "a.b", '"', "$set", "0"])
JSON_VALUES: Values = st.recursive(
    _JSON_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_JSON_KEYS, inner, max_size=3),
    max_leaves=6,
)


def values(kind: FieldType) -> Values:
    """Values of a field, in the form that results have them in."""
    if kind.enum is not None:
        return st.sampled_from(list(kind.enum))
    if kind.kind is Kind.JSON:
        return _json(kind.python)
    return _STRATEGIES[kind.kind](kind)


def _text(kind: FieldType) -> Values:
    limit = kind.max_length
    short = [text for text in TEXTS if limit is None or len(text) <= limit]
    free = st.text(ALPHABET, max_size=min(6, limit or 6))
    if limit is not None:
        return st.sampled_from([*short, "x" * limit, "é" * limit]) | free
    return st.sampled_from(short) | free | st.sampled_from(LONG_TEXTS)


def _bytes(kind: FieldType) -> Values:
    limit = kind.max_length or 2000
    fit = [item for item in [*BYTES, *(b"long" * 300 + end for end in (b"", b"a", b"\0", b"b"))] if len(item) <= limit]
    return st.sampled_from(fit) | st.binary(max_size=min(limit, 4))


def _decimal(kind: FieldType) -> Values:
    top = 10**kind.precision - 1
    units = st.sampled_from([0, 1, -1, 5, 10, 99, 100, 999, top, -top, top - 1, top // 2, top // 3]) | st.integers(
        -top, top
    )
    return units.filter(lambda number: abs(number) <= top).map(lambda number: scaled(number, kind.scale))


def scaled(units: int, scale: int) -> Decimal:
    """``units`` of the last digit of a scale."""
    with localcontext() as context:
        context.prec = 100
        return Decimal(units).scaleb(-scale)


def _json(container: type[Any]) -> Values:
    if container is dict:
        return st.dictionaries(_JSON_KEYS, JSON_VALUES, max_size=3)
    if container is list:
        return st.lists(JSON_VALUES, max_size=3)
    return JSON_VALUES.filter(lambda value: value is not None)


_STRATEGIES: dict[Kind, Callable[[FieldType], Values]] = {
    Kind.STR: _text,
    Kind.INT: lambda _: st.sampled_from(INTS) | st.integers(-4, 4),
    Kind.FLOAT: lambda _: st.sampled_from(FLOATS) | st.integers(-8, 8).map(lambda number: number / 4),
    Kind.BOOL: lambda _: st.booleans(),
    Kind.DECIMAL: _decimal,
    Kind.DATETIME: lambda _: st.sampled_from(MOMENTS).map(lambda moment: moment.replace(tzinfo=UTC)),
    Kind.DATE: lambda _: st.sampled_from(DATES),
    Kind.TIME: lambda _: st.sampled_from(TIMES),
    Kind.TIMEDELTA: lambda _: st.sampled_from(DELTAS).map(lambda number: timedelta(microseconds=number)),
    Kind.UUID: lambda _: st.sampled_from(UUIDS),
    Kind.BYTES: _bytes,
}


def spelled(kind: FieldType, value: Any) -> Values:
    """Ways in which a user may write a value."""
    ways = [st.just(value), st.just(value)]
    if kind.enum is not None:
        ways.append(st.just(value.value))
    elif kind.kind is Kind.FLOAT and value.is_integer() and abs(value) < 2**53:
        ways.append(st.just(int(value)))
    elif kind.kind is Kind.DECIMAL:
        ways.append(st.just(str(value)))
        if value == value.to_integral_value():
            ways.append(st.just(int(value)))
    elif kind.kind is Kind.DATETIME:
        ways += [
            st.just(value.replace(tzinfo=None)),
            st.just(value.isoformat()),
            st.sampled_from(ZONES).map(_in(value)),
        ]
    elif kind.kind in (Kind.DATE, Kind.TIME):
        ways.append(st.just(value.isoformat()))
    elif kind.kind is Kind.UUID:
        ways += [st.just(str(value)), st.just(str(value).upper()), st.just(value.hex)]
    elif kind.kind is Kind.BYTES:
        ways.append(st.just(bytearray(value)))
    return st.one_of(ways)


def _in(moment: datetime) -> Callable[[Any], datetime]:
    def convert(zone: Any) -> datetime:
        try:
            return moment.astimezone(zone)
        except OverflowError:
            return moment

    return convert


def wrong(kind: FieldType) -> Values:
    """Values that a field refuses, as of another type or as unfit to be stored."""
    if kind.enum is not None:
        return st.sampled_from(["no such member", 10**6, object(), 1.5])
    if kind.kind is Kind.JSON:
        anywhere = [
            nested(31),
            {"a": math.nan},
            {"a": BIG},
            {"a": "\0"},
            {"a": "\ud800"},
            {1: 2},
            {"a": date.min},
            {"a": {1, 2}},
        ]
        return st.sampled_from([[anywhere] if kind.python is list else item for item in anywhere])
    found = list(_WRONG[kind.kind])
    if kind.kind is Kind.DECIMAL:
        found += [scaled(10**kind.precision, kind.scale), scaled(1, kind.scale + 1)]
    if kind.max_length is not None:
        found.append("x" * (kind.max_length + 1) if kind.kind is Kind.STR else b"x" * (kind.max_length + 1))
    return st.sampled_from(found)


def nested(levels: int) -> Any:
    """JSON of dicts in a list, so many levels deep, and one more."""
    value: Any = []
    for _ in range(levels):
        value = {"a": value}
    return value


_WRONG: dict[Kind, list[Any]] = {
    Kind.STR: ["\0", "a\0b", "\ud800", 1, b"a", True],
    Kind.INT: [True, "1", "1abc", 1.0, 1.5, BIG, -BIG - 1, Decimal(1), 10**40],
    Kind.FLOAT: [True, "1.5", math.nan, math.inf, -math.inf, 10**400, Decimal(1)],
    Kind.BOOL: [0, 1, "true", ""],
    Kind.DECIMAL: [1.5, True, "abc", Decimal("NaN"), Decimal("-Infinity")],
    Kind.DATETIME: ["yesterday", 0, date(2026, 1, 1), datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))],
    Kind.DATE: ["2026-02-30", 0, datetime(2026, 1, 1), ""],
    Kind.TIME: ["25:00", 0, time(1, tzinfo=UTC), timedelta(hours=1)],
    Kind.TIMEDELTA: [0, "1", time(1), timedelta(microseconds=BIG), timedelta.max, timedelta.min],
    Kind.UUID: ["not a uuid", 0, b"\0" * 16],
    Kind.BYTES: ["text", 0, [1]],
}
