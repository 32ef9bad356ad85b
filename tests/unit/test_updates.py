from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.errors import (
    NotNullViolationError,
    TypeMismatchError,
    UnknownFieldError,
    UnknownOperatorError,
    UpdateParameterError,
)
from dataflow.queries.plan import Binds, compile_plan
from dataflow.queries.updates import parse_updates
from tests.unit.shop import CODECS, TABLE, unquoted

PG, MYSQL, SQLITE = Dialect.POSTGRESQL, Dialect.MYSQL, Dialect.SQLITE


def parse(fields, dialect=PG):
    return parse_updates(CODECS[dialect], dialect, fields)


def one(field, value, dialect=PG):
    """Operation and values of one field, the managed timestamp left out."""
    found = parse({field: value}, dialect)
    assert found.shape[-1] == ("set", "updated_at")
    return found.shape[0][0], found.values[:-1]


def sql(field, value, dialect) -> str:
    found = parse({field: value}, dialect)
    binds = Binds()
    statement = sa.update(TABLE).values(found.assignments(TABLE.c, binds))
    assert binds.count == len(found.values)
    return (
        unquoted(compile_plan(statement, dialect).sql).split("SET ")[1].split(", updated_at")[0].replace("items.", "")
    )


def test_values_and_timestamp():
    before = datetime.now(UTC)
    found = parse({"name": "x", "rank": None})
    assert found.shape == (("set", "name"), ("set", "rank"), ("set", "updated_at"))
    assert found.values[:2] == ["x", None]
    assert before <= found.values[2] <= datetime.now(UTC)
    assert found.is_plain
    assert not found.is_empty


def test_nothing_to_change():
    assert parse({}).is_empty
    assert parse({"updated_at": "2026-01-01"}).is_empty


def test_managed_fields_are_stripped():
    found = parse({"created_at": "whatever", "name": "x"})
    assert found.stripped == ("created_at",)
    assert found.shape == (("set", "name"), ("set", "updated_at"))


@pytest.mark.parametrize(
    ("field", "value", "operation", "values"),
    [
        ("age", {"$inc": 1}, "inc", [1]),
        ("age", {"$inc": 2.0}, "inc", [2]),
        ("weight", {"$inc": 1}, "inc", [1.0]),
        ("price", {"$inc": 0.1}, "inc", [Decimal("0.10")]),
        ("waited", {"$inc": timedelta(seconds=1)}, "inc", [1_000_000]),
        ("age", {"$multiply": 3}, "multiply", [3]),
        ("price", {"$multiply": 0.9}, "multiply", [Decimal("0.9")]),
        ("price", {"$multiply": "1.005"}, "multiply", [Decimal("1.005")]),
        ("rank", {"$unset": True}, "set", [None]),
        ("rank", {"$unset": ""}, "set", [None]),
        ("rank", {"$set": 4}, "set", [4]),
        ("rank", {"$min": 4}, "min", [4, 4]),
        ("name", {"$max": "m"}, "max", ["m", "m"]),
        ("data", {"$set": {"$inc": 1}}, "set", ['{"$inc":1}']),
        ("data", {"$foo": 1}, "set", ['{"$foo":1}']),
        ("data", {"a": {"$inc": 1}}, "set", ['{"a":{"$inc":1}}']),
    ],
)
def test_expressions(field, value, operation, values):
    assert one(field, value) == (operation, values)


def test_now():
    assert one("day", {"$now": True})[1] == [datetime.now(UTC).date()]
    operation, (moment,) = one("sold_at", {"$now": True})
    assert operation == "set"
    assert datetime.now(UTC) - moment < timedelta(minutes=1)


def test_sql():
    assert sql("age", {"$inc": 1}, PG) == "age=(age + $1::BIGINT)"
    assert sql("age", {"$inc": 1}, SQLITE) == "age=dataflow_add(age, ?)"
    assert sql("price", {"$multiply": 0.9}, PG) == "price=(price * $1::NUMERIC)"
    assert sql("price", {"$multiply": 0.9}, MYSQL) == "price=(price * %s)"
    assert sql("price", {"$multiply": 0.9}, SQLITE) == "price=dataflow_multiply(price, ?, 12, 2)"
    assert sql("age", {"$min": 3}, MYSQL) == "age=CASE WHEN (age <= %s) THEN age ELSE %s END"
    assert "COLLATE dataflow_decimal" in sql("price", {"$max": 3}, SQLITE)


def test_factors_are_text_on_sqlite():
    assert one("price", {"$multiply": 0.9}, SQLITE)[1] == ["0.9"]
    assert one("price", {"$multiply": Decimal("1E+2")}, SQLITE)[1] == ["100"]


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"nmae": 1}, UnknownFieldError, "Did you mean 'name'"),
        ({"age": {"$incr": 1}}, UnknownOperatorError, r"Did you mean '\$inc'"),
        ({"age": {"$inc": 1, "$set": 2}}, UpdateParameterError, "takes one"),
        ({"age": {"x": 1}}, TypeMismatchError, "int"),
        ({"age": {"$inc": 1.5}}, UpdateParameterError, "whole numbers"),
        ({"age": {"$inc": None}}, UpdateParameterError, "takes a number"),
        ({"age": {"$inc": True}}, UpdateParameterError, "takes a number"),
        ({"age": {"$multiply": 0.9}}, UpdateParameterError, "whole numbers"),
        ({"name": {"$inc": 1}}, UpdateParameterError, "for numbers"),
        ({"status": {"$inc": 1}}, UpdateParameterError, "for numbers"),
        ({"data": {"$inc": 1}}, UpdateParameterError, "for numbers"),
        ({"waited": {"$multiply": 2}}, UpdateParameterError, "for numbers"),
        ({"price": {"$multiply": "x"}}, UpdateParameterError, "takes a number"),
        ({"price": {"$multiply": "NaN"}}, UpdateParameterError, "finite"),
        ({"price": {"$multiply": Decimal("1e-21")}}, UpdateParameterError, "digits"),
        ({"price": {"$inc": "0.001"}}, TypeMismatchError, "digits after the point"),
        ({"rank": {"$min": None}}, UpdateParameterError, "order"),
        ({"rank": {"$unset": False}}, UpdateParameterError, "takes True"),
        ({"age": {"$unset": True}}, NotNullViolationError, "must not be None"),
        ({"name": {"$now": True}}, UpdateParameterError, "datetime"),
        ({"sold_at": {"$now": 1}}, UpdateParameterError, "takes True"),
        ({"name": None}, NotNullViolationError, "must not be None"),
        ({"age": "5"}, TypeMismatchError, "whole number"),
        ({"id": 5}, UpdateParameterError, "cannot be changed"),
        ({"$inc": {"age": 1}}, UpdateParameterError, "belongs to a field"),
        ([], TypeMismatchError, "a dict"),
    ],
)
def test_refused(fields, error, words):
    with pytest.raises(error, match=words):
        parse(fields)
