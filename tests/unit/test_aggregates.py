from decimal import Decimal

import pytest

from dataflow.databases.interface import Dialect
from dataflow.errors import InputError, TypeMismatchError, UnknownFieldError, UnknownOperatorError
from dataflow.models import Kind
from dataflow.queries.aggregates import parse_aggregates
from tests.unit.shop import CODECS


def parse(group_by, aggregate):
    return parse_aggregates(CODECS[Dialect.POSTGRESQL], Dialect.POSTGRESQL, group_by, aggregate)


def test_columns():
    columns = parse(["status"], {"n": {"$count": "*"}, "total": {"$sum": "price"}, "mean": {"$avg": "age"}})
    assert [(column.name, column.operator, column.field) for column in columns] == [
        ("status", "group", "status"),
        ("n", "$count", None),
        ("total", "$sum", "price"),
        ("mean", "$avg", "age"),
    ]
    assert [column.codec.spec.type.kind for column in columns] == [Kind.STR, Kind.INT, Kind.DECIMAL, Kind.FLOAT]


@pytest.mark.parametrize(
    ("aggregate", "given", "wanted"),
    [
        ({"$sum": "age"}, Decimal(7), 7),
        ({"$sum": "weight"}, 1.5, 1.5),
        ({"$sum": "price"}, "7.5", Decimal("7.50")),
        ({"$avg": "price"}, Decimal("0.125"), Decimal("0.13")),
        ({"$avg": "price"}, Decimal("-0.125"), Decimal("-0.13")),
        ({"$avg": "age"}, Decimal("2.5"), 2.5),
    ],
)
def test_results_have_one_type(aggregate, given, wanted):
    (column,) = parse([], {"x": aggregate})
    result = column.decode(given)
    assert (result, type(result)) == (wanted, type(wanted))
    assert str(result) == str(wanted)


@pytest.mark.parametrize(
    ("group_by", "aggregate", "error", "words"),
    [
        (["statsu"], {}, UnknownFieldError, "Did you mean 'status'"),
        ([], {"x": {"$sum": "agee"}}, UnknownFieldError, "Did you mean 'age'"),
        ([], {"x": {"$summ": "age"}}, UnknownOperatorError, r"Did you mean '\$sum'"),
        ([], {"x": {"$sum": "name"}}, InputError, "does not work on Item.name"),
        ([], {"x": {"$sum": "*"}}, UnknownFieldError, "no field"),
        ([], {"x": {"$min": "active"}}, InputError, "does not work"),
        ([], {"x": {"$count_distinct": "data"}}, InputError, "does not work"),
        (["data"], {}, InputError, "grouped"),
        (["status", "status"], {}, InputError, "twice"),
        ([], {}, InputError, "empty"),
        (["status"], {"status": {"$count": "*"}}, InputError, "taken"),
        ([], {"": {"$count": "*"}}, InputError, "alias"),
        ([], {"x": "age"}, TypeMismatchError, "one operator"),
        ([], {"x": {"$sum": "age", "$avg": "age"}}, TypeMismatchError, "one operator"),
    ],
)
def test_refused(group_by, aggregate, error, words):
    with pytest.raises(error, match=words):
        parse(group_by, aggregate)
