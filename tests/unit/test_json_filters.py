"""Filters into JSON: shapes, bound paths, and what is refused. Their meaning is in tests/integration."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.errors import InvalidFilterError, TypeMismatchError, UnknownFieldError, UnknownOperatorError
from dataflow.models import declare
from dataflow.models.tables import build_table
from dataflow.queries.aggregates import parse_aggregates
from dataflow.queries.codecs import ModelCodec
from dataflow.queries.filter_parser import MAX_CONDITIONS, MAX_DEPTH
from dataflow.queries.filters import Filter, parse_conditions, parse_filter
from dataflow.queries.json_paths import MAX_PART, MAX_PARTS
from dataflow.queries.model import ModelRows
from dataflow.queries.operators import MAX_LIST
from dataflow.queries.patterns import MAX_PATTERN
from tests.unit.test_filters import MYSQL, PG, SQLITE, parse, sql


class Note:
    body: Any = None
    tags: list | None = None


SPEC = declare(Note, skip_validation=True)
CODEC = ModelCodec(SPEC, SQLITE)
NOTES = ModelRows(CODEC, SQLITE, build_table(SPEC, sa.MetaData()), lambda model: None, include_deleted=False)


def parse_note(conditions) -> Filter:
    return parse_filter(NOTES, conditions)


def test_both_notations_are_one():
    nested = parse({"data": {"color": "red", "size": {"w": {"$gt": 3}}}})
    dotted = parse({"data.color": "red", "data.size.w": {"$gt": 3}})
    assert (nested.shape, nested.values) == (dotted.shape, dotted.values)
    assert nested.values == ['$."color"', "red", '$."size"."w"', 3.0]
    assert parse({"data": {"size.w": {"$gt": 3}}}).shape == parse({"data": {"size": {"w": {"$gt": 3}}}}).shape


def test_shapes_hold_types_but_neither_paths_nor_values():
    assert parse({"data.a": "x"}).shape == parse({"data.b.c": "y"}).shape
    assert parse({"data.a": "x"}).shape != parse({"data.a": 1}).shape
    assert parse({"data.a": 1}).shape != parse({"data.a": True}).shape
    assert parse({"data.a": {"$in": ["x", 1, "y"]}}).shape == parse({"data.b": {"$in": [2, "v", "w"]}}).shape
    assert parse({"data.a.0": "x"}, MYSQL).shape != parse({"data.a": "x"}, MYSQL).shape
    hash(parse({"data.a": {"$in": ["x", 1, None, True]}}).shape)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_paths_are_bound(dialect):
    name = "x' OR 1=1; --"
    assert name not in sql({f"data.{name}": "red"}, dialect)
    assert any(name in value for value in parse({f"data.{name}": "red"}, dialect).values)


def test_what_is_bound():
    assert parse({"data.a.0": "x"}, PG).values == ['strict $."a"[0] ? (@.type() == "string")', "x"]
    assert parse({"data.a.0": "é"}, MYSQL).values == ['$."a"', '$."a"[0]', "é".encode()]
    assert parse({"data.a.007": Decimal("1.5")}, SQLITE).values == ['$."a"[7]', 1.5]
    assert parse({"data.a": True}, MYSQL).values == ['$."a"', b"true"]


@pytest.mark.parametrize(
    "conditions", [{"data.a": {"$in": []}}, {"data.a": {"$gt": None}}, {"data.a": {"$like": None}}]
)
def test_what_matches_nothing_binds_nothing(conditions):
    found = parse({**conditions, "name": "x"})
    assert (found.shape, found.values) == (("false",), [])
    assert parse({"$nor": [conditions]}).is_empty


def test_the_whole_field():
    assert parse({"data": None}).shape == ("null", "data")
    assert parse({"data": {"$ne": None}}).shape == ("notnull", "data")
    assert parse({"data": {"$exists": True}}).shape == ("notnull", "data")
    assert parse_note({"body": "x"}).values == ["$", "x"]
    found = parse({"data": {"$exists": True, "a": 1}})
    assert found.shape == ("and", ("notnull", "data"), parse({"data.a": 1}).shape)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"data": "red"}, r"this is a dict.*'data\.key'"),
        ({"data": {"$gt": 1}}, "this is a dict"),
        ({"data": {"$eq": {"a": 1}}}, "this is a dict"),
        ({"data": {"$in": ["a"]}}, "this is a dict"),
        ({"data": {"$contains": "a"}}, "this is a dict"),
        ({"data": [1]}, "this is a dict"),
        ({"data": {}}, "empty dict"),
        ({"data": {"a": {}}}, r"'data\.a' has an empty dict"),
        ({"data": {"a": {"$not": {}}}}, r"'data\.a' has an empty dict"),
        ({"data": {0: "a"}}, r"not text.*\{'0'"),
        ({"data.a": {"$eq": {"b": 1}}}, r"not with a dict.*\{'data\.a': \{'key'"),
        ({"data.a": [1, 2]}, r"not with a list.*\$in"),
        ({"data.a": {"$in": ["x", ["y"]]}}, "not with a list"),
        ({"data.a": {"$ne": date(2026, 1, 31)}}, "not date.*ISO"),
        ({"data.a": UUID(int=1)}, "not UUID"),
        ({"data.a": b"x"}, "not bytes"),
        ({"data.a": {"$gt": True}}, "no order"),
        ({"data.a": {"$between": [False, True]}}, "no order"),
        ({"data.a": {"$between": [1, "2"]}}, "two types"),
        ({"data.a": {"$between": [1]}}, "two values"),
        ({"data.a": {"$like": "x\\"}}, "lone backslash"),
        ({"data.a": {"$regex": "a("}}, r"Item\.data\.a: \$regex: missing \)"),
        ({"data.a": {"$regex": "a", "$options": "i"}}, r"\(\?i\)"),
        ({"data.a": {"$like": "x" * (MAX_PATTERN + 1)}}, "at most"),
        ({"data.a": {"$in": [1] * (MAX_LIST + 1)}}, "at most"),
        ({"data.": 1}, "empty part"),
        ({"data..a": 1}, "empty part"),
        ({"data": {"": 1}}, "empty part"),
        ({'data.a"b': 1}, "quotes"),
        ({"data.a\\b": 1}, "backslashes"),
        ({"data.a\nb": 1}, "control characters"),
        ({"data.a\x85b": 1}, "control characters"),
        ({"data.\ud800": 1}, "surrogates"),
        ({"data.-a": 1}, "begin with '-'"),
        ({"data.1234567890": 1}, "9 digits"),
        ({"data." + "k" * (MAX_PART + 1): 1}, f"at most {MAX_PART} characters"),
        ({"data." + ".".join("k" * (MAX_PARTS + 1)): 1}, f"at most {MAX_PARTS} parts"),
        ({"data." + "k." * 100_000: 1}, "at most"),
    ],
)
@pytest.mark.parametrize("dialect", list(Dialect))
def test_refused(conditions, words, dialect):
    with pytest.raises(InvalidFilterError, match=words):
        parse(conditions, dialect)


@pytest.mark.parametrize(
    "condition",
    [
        {"$null": 1},
        {"$in": "abc"},
        {"$contains": 5},
        {"$like": True},
        "a\x00b",
        "\udc00",
        float("nan"),
        float("inf"),
        10**400,
        Decimal("1e400"),
        Decimal("NaN"),
        Decimal("sNaN"),
    ],
)
def test_wrong_operands_are_refused(condition):
    with pytest.raises(TypeMismatchError, match=r"Item\.data\.a"):
        parse({"data.a": condition})


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownFieldError, match=r"no field 'dta'\. Did you mean 'data'"):
        parse({"dta.color": 1})
    with pytest.raises(UnknownOperatorError, match=r"Item\.data\.a: .*'\$gtt'\. Did you mean '\$gte?'"):
        parse({"data.a": {"$gtt": 1}})
    with pytest.raises(UnknownOperatorError, match=r"'\$ref'"):
        parse({"data": {"$ref": 1}})


def test_depth_and_size_are_limited():
    deep: dict = {"k": 1}
    for _ in range(MAX_PARTS):
        deep = {"k": deep}
    with pytest.raises(InvalidFilterError, match="parts"):
        parse({"data": deep})
    condition: dict = {"$gt": 1}
    for _ in range(MAX_DEPTH + 1):
        condition = {"$not": condition}
    with pytest.raises(InvalidFilterError, match="nested deeper"):
        parse({"data.a": condition})
    wide = {f"k{number}": number for number in range(MAX_CONDITIONS + 1)}
    with pytest.raises(InvalidFilterError, match="more than"):
        parse({"data": wide})


def test_a_list_names_an_index():
    with pytest.raises(InvalidFilterError, match=r"this is a list.*'tags\.0'"):
        parse_note({"tags": "red"})


def test_having_has_no_json():
    columns = parse_aggregates(CODEC, SQLITE, [], {"n": {"$count": "body"}})
    fields = {column.name: column.codec for column in columns}
    with pytest.raises(UnknownFieldError, match="no field 'body'"):
        parse_conditions(fields, SQLITE, {"body.a": 1}, owner="NoteAggregateNode")
    with pytest.raises(InvalidFilterError, match="'n', which is int"):
        parse_conditions(fields, SQLITE, {"n.a": 1}, owner="NoteAggregateNode")
