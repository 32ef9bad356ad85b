from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.errors import (
    InvalidFilterError,
    TypeMismatchError,
    UnknownFieldError,
    UnknownOperatorError,
)
from dataflow.queries.filter_parser import MAX_CONDITIONS, MAX_DEPTH
from dataflow.queries.filters import Filter, parse_filter
from dataflow.queries.operators import MAX_LIST
from dataflow.queries.patterns import MAX_PATTERN
from dataflow.queries.plan import Binds, compile_plan
from tests.unit.shop import ROWS, TABLE, Status, unquoted

PG, MYSQL, SQLITE = Dialect.POSTGRESQL, Dialect.MYSQL, Dialect.SQLITE


def parse(conditions, dialect=SQLITE) -> Filter:
    return parse_filter(ROWS[dialect], conditions)


def sql(conditions, dialect=SQLITE) -> str:
    found = parse(conditions, dialect)
    binds = Binds()
    clause = found.clause(ROWS[dialect], binds)
    assert binds.count == len(found.values)
    assert clause is not None
    text = unquoted(compile_plan(sa.select(TABLE.c.id).where(clause), dialect).sql)
    return text.split("WHERE ")[1].replace("items.", "")


def test_plain_value():
    found = parse({"name": "ann"})
    assert (found.shape, found.values) == (("eq", "name"), ["ann"])


def test_shape_has_no_values():
    assert parse({"age": {"$gt": 1}, "name": "a"}).shape == parse({"age": {"$gt": 7}, "name": "b"}).shape
    hash(parse({"$or": [{"age": {"$in": [1, 2]}}, {"$nor": [{"name": {"$like": "a%"}}]}]}).shape)


def test_operators_in_one_dict_are_anded():
    found = parse({"age": {"$gte": 18, "$lt": 65}})
    assert (found.shape, found.values) == (("and", ("gte", "age"), ("lt", "age")), [18, 65])


@pytest.mark.parametrize("condition", [None, {"$eq": None}, {"$null": True}, {"$exists": False}, {"$in": [None]}])
def test_is_null(condition):
    assert parse({"rank": condition}).shape == ("null", "rank")


@pytest.mark.parametrize(
    "condition", [{"$ne": None}, {"$null": False}, {"$exists": True}, {"$not": None}, {"$nin": [None]}]
)
def test_is_not_null(condition):
    assert parse({"rank": condition}).shape == ("notnull", "rank")


@pytest.mark.parametrize(
    "conditions",
    [{}, {"age": {"$nin": []}}, {"$and": [{}]}, {"$or": [{"age": 1}, {}]}, {"$not": {"age": {"$in": []}}}],
)
def test_what_matches_everything_is_empty(conditions):
    found = parse(conditions)
    assert found.is_empty
    assert found.values == []
    assert found.clause(TABLE, Binds()) is None


@pytest.mark.parametrize(
    "conditions",
    [
        {"age": {"$in": []}},
        {"age": {"$gt": None}},
        {"age": {"$between": [1, None]}},
        {"name": {"$like": None}},
        {"name": {"$regex": None}},
        {"name": "x", "age": {"$in": []}},
        {"$nor": [{"name": "x"}, {}]},
        {"$or": [{"age": {"$in": []}}, {"age": {"$lt": None}}]},
    ],
)
def test_what_matches_nothing(conditions):
    found = parse(conditions)
    assert (found.shape, found.values) == (("false",), [])
    assert not found.is_empty


def test_values_of_dropped_parts_are_dropped():
    found = parse({"name": "a", "$or": [{"age": 5}, {"age": {"$nin": []}}], "rank": 3})
    assert (found.shape, found.values) == (("and", ("eq", "name"), ("eq", "rank")), ["a", 3])


def test_postgresql_lists_are_one_array():
    found = parse({"age": {"$in": [1, 2, 2, 3]}}, PG)
    assert (found.shape, found.values) == (("in", "age", 1), [[1, 2, 3]])
    assert sql({"age": {"$in": [1, 2]}}, PG) == "age = ANY ($1::BIGINT[])"
    assert sql({"age": {"$nin": [1, 2]}}, PG) == "age != ALL ($1::BIGINT[])"


@pytest.mark.parametrize("dialect", [MYSQL, SQLITE])
def test_other_lists_are_padded(dialect):
    found = parse({"age": {"$in": [1, 2, 3]}}, dialect)
    assert (found.shape, found.values) == (("in", "age", 4), [1, 2, 3, 3])
    assert parse({"age": {"$in": [9]}}, dialect).values == [9]


def test_not_in_keeps_null_rows():
    assert parse({"rank": {"$nin": [1]}}).shape == ("or", ("nin", "rank", 1), ("null", "rank"))
    assert parse({"rank": {"$nin": [1, None]}}).shape == ("nin", "rank", 1)
    assert parse({"age": {"$nin": [1]}}).shape == ("nin", "age", 1)


def test_not_equal_keeps_null_rows():
    assert sql({"rank": {"$ne": 1}}, PG) == "rank IS DISTINCT FROM $1::BIGINT"
    assert sql({"rank": {"$ne": 1}}, MYSQL) == "NOT (rank <=> %s)"
    assert sql({"rank": {"$ne": 1}}, SQLITE) == "rank IS NOT ?"
    assert sql({"age": {"$ne": 1}}, PG) == "age != $1::BIGINT"


def test_not_is_two_valued():
    assert sql({"rank": {"$not": {"$gt": 1}}}, PG) == "(rank > $1::BIGINT) IS NOT true"
    assert sql({"$nor": [{"rank": 1}, {"age": 2}]}, MYSQL) == "(rank = %s OR age = %s) IS NOT true"
    assert sql({"$not": {"rank": 1}}, SQLITE) == "(rank = ?) IS NOT 1"


def test_not_of_not_is_nothing():
    assert parse({"$not": {"$not": {"rank": 1}}}).shape == ("eq", "rank")
    assert parse({"$nor": [{"rank": {"$not": {"$gt": 1}}}]}).shape == ("gt", "rank")


def test_patterns():
    assert parse({"name": {"$contains": "50%_!*"}}, PG).values == ["%50!%!_!!*%"]
    assert parse({"name": {"$contains": "50%_!*?["}}, SQLITE).values == ["*50%_![*][?][[]*"]
    assert parse({"name": {"$startswith": "a\\"}}, MYSQL).values == ["a\\%"]
    assert parse({"name": {"$endswith": "z"}}, SQLITE).values == ["*z"]
    assert parse({"name": {"$like": "a%b_c\\%\\_"}}, PG).values == ["a%b_c!%!_"]
    assert parse({"name": {"$like": "a%b_c\\%\\_"}}, SQLITE).values == ["a*b?c%_"]
    assert sql({"name": {"$like": "a%"}}, PG) == "name LIKE $1::VARCHAR ESCAPE '!'"
    assert sql({"name": {"$like": "a%"}}, SQLITE) == "name GLOB ?"
    assert sql({"name": {"$ilike": "a%"}}, SQLITE) == "dataflow_lower(name) GLOB dataflow_lower(?)"


def test_regular_expressions():
    assert sql({"name": {"$regex": "a[b]+c"}}, PG) == "name COLLATE C ~ $1::VARCHAR"
    assert sql({"name": {"$regex": "a[b]+c"}}, MYSQL) == "name REGEXP %s"
    assert sql({"name": {"$regex": "a[b]+c"}}, SQLITE) == "dataflow_regexp(?, name) = 1"
    assert parse({"name": {"$regex": "a[b]+c"}}).shape == parse({"name": {"$regex": "x[yz]"}}).shape


def test_regular_expressions_of_literal_text():
    anchored, prefix = parse({"name": {"$regex": "^a%$"}}, PG), parse({"name": {"$regex": "^a%"}}, PG)
    assert (anchored.shape, anchored.values) == (("eq", "name"), ["a%"])
    assert (prefix.shape, prefix.values) == (("like", "name"), ["a!%%"])
    assert parse({"name": {"$regex": r"\*$"}}, SQLITE).values == ["*[*]"]


def test_decimals_compare_by_number_on_sqlite():
    assert sql({"price": {"$gt": "9.5"}}) == "(price COLLATE dataflow_decimal) > ?"
    assert parse({"price": {"$gt": "9.5"}}).values == ["9.50"]


def test_values_are_coerced():
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    assert parse({"sold_at": "2026-01-31"}, PG).values == [moment]
    assert parse({"sold_at": {"$lt": "2026-01-31"}}, SQLITE).values == ["2026-01-31 00:00:00.000000"]
    assert parse({"status": Status.SOLD}, PG).values == ["sold"]
    assert parse({"status": {"$in": ["new", Status.SOLD]}}, PG).values == [["new", "sold"]]
    assert parse({"price": 3}, PG).values == [Decimal("3.00")]
    token = UUID(int=5)
    assert parse({"token": str(token)}, PG).values == [token]
    assert parse({"token": token}, MYSQL).values == [str(token)]


@pytest.mark.parametrize(
    "conditions",
    [
        {"age": "5"},
        {"age": True},
        {"age": 5.5},
        {"name": 5},
        {"active": 1},
        {"price": 1.5},
        {"sold_at": "soon"},
        {"status": "gone"},
        {"age": {"$in": [1, "2"]}},
        {"age": {"$in": 1}},
        {"age": {"$null": 1}},
        {"name": {"$contains": 5}},
        {"name": {"$regex": 5}},
        {"name": {"$regex": "a\x00"}},
        {"age": {"$between": [1, "2"]}},
    ],
)
def test_wrong_types_are_refused(conditions):
    with pytest.raises(TypeMismatchError, match=rf"Item\.{next(iter(conditions))}"):
        parse(conditions)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([], "a filter is a dict"),
        ("x", "a filter is a dict"),
        ({5: 1}, "field names are text"),
        ({"age": [1, 2]}, r"\$in"),
        ({"age": {}}, "empty dict"),
        ({"age": {"x": 1}}, "no operator"),
        ({"age": {"$between": [1]}}, "two values"),
        ({"age": {"$like": "a"}}, "works on text"),
        ({"name": {"$like": "a\\"}}, "lone backslash"),
        ({"name": {"$contains": "x" * (MAX_PATTERN + 1)}}, "at most"),
        ({"age": {"$in": list(range(MAX_LIST + 1))}}, "at most"),
        ({"$or": []}, "at least one"),
        ({"$and": {"age": 1}}, "takes a list"),
        ({"$gt": 5}, "belongs to a field"),
        ({"$regex": "a"}, "belongs to a field"),
        ({"age": {"$regex": "a"}}, "works on text"),
        ({"name": {"$regex": "a("}}, r"Item.name: \$regex: missing \).*RE2"),
        ({"name": {"$regex": "a", "$options": "i"}}, r"\(\?i\)"),
        ({"age.x": 1}, "'age', which is int"),
    ],
)
def test_what_is_no_filter_is_refused(conditions, words):
    with pytest.raises(InvalidFilterError, match=words):
        parse(conditions)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownFieldError, match=r"no field 'nmae'\. Did you mean 'name'"):
        parse({"nmae": 1})
    with pytest.raises(UnknownOperatorError, match=r"'\$gtt'. Did you mean '\$gte?'"):
        parse({"age": {"$gtt": 1}})
    with pytest.raises(UnknownOperatorError, match=r"Did you mean '\$and'"):
        parse({"$an": []})


def test_names_never_reach_sql():
    with pytest.raises(UnknownFieldError):
        parse({"name = '' OR 1=1 --": 1})


def test_depth_and_size_are_limited():
    deep: dict = {"age": 1}
    for _ in range(MAX_DEPTH):
        deep = {"$not": deep}
    assert parse(deep).values == [1]
    with pytest.raises(InvalidFilterError, match="nested deeper"):
        parse({"$not": deep})
    condition: dict = {"$gt": 1}
    for _ in range(MAX_DEPTH + 1):
        condition = {"$not": condition}
    with pytest.raises(InvalidFilterError, match="nested deeper"):
        parse({"age": condition})
    with pytest.raises(InvalidFilterError, match="more than"):
        parse({"$or": [{"age": number} for number in range(MAX_CONDITIONS + 1)]})


def test_sqlite_binds_are_limited():
    values = list(range(MAX_LIST))
    conditions = {"$or": [{"age": {"$in": values}}, {"rank": {"$in": values}}]}
    with pytest.raises(InvalidFilterError, match="binds 32,768 values"):
        parse(conditions, SQLITE)
    assert len(parse(conditions, PG).values) == 2
