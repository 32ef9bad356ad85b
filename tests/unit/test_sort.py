import pytest

from dataflow.databases.interface import Dialect
from dataflow.errors import InputError, TypeMismatchError, UnknownFieldError
from dataflow.queries.sort import order_by, parse_keys, parse_sort
from tests.unit.shop import SPEC, TABLE


def sql(sort, dialect) -> list[str]:
    keys = order_by(parse_sort(SPEC, sort), TABLE.c, SPEC.by_name, dialect)
    return [str(key).replace("items.", "") for key in keys]


@pytest.mark.parametrize("sort", [None, [], ""])
def test_default_is_newest_id_first(sort):
    assert parse_sort(SPEC, sort) == (("id", True),)


@pytest.mark.parametrize(
    "sort",
    [
        "-age",
        ["-age"],
        [{"age": -1}],
        {"age": -1},
        [{"age": "desc"}],
        [{"age": "DESC"}],
        [{"field": "age", "order": "desc"}],
        [{"field": "age", "direction": -1}],
    ],
)
def test_notations(sort):
    assert parse_sort(SPEC, sort) == (("age", True), ("id", True))


@pytest.mark.parametrize("sort", ["age", "+age", [{"age": 1}], [{"field": "age"}], [{"field": "age", "order": "asc"}]])
def test_ascending(sort):
    assert parse_sort(SPEC, sort) == (("age", False), ("id", False))


def test_id_breaks_ties_in_the_direction_of_the_last_key():
    assert parse_sort(SPEC, ["name", "-age"]) == (("name", False), ("age", True), ("id", True))
    assert parse_sort(SPEC, [{"name": 1, "age": -1}])[:2] == (("name", False), ("age", True))


def test_nothing_counts_behind_the_id():
    assert parse_sort(SPEC, ["name", "-id", "age"]) == (("name", False), ("id", True))


def test_second_mention_is_left_out():
    assert parse_sort(SPEC, ["age", "-age"]) == (("age", False), ("id", False))


def test_nulls_come_last():
    assert sql("rank", Dialect.POSTGRESQL) == ["rank ASC", "id ASC"]
    assert sql("-rank", Dialect.POSTGRESQL) == ["rank DESC NULLS LAST", "id DESC"]
    assert sql("rank", Dialect.MYSQL) == ["rank IS NULL", "rank ASC", "id ASC"]
    assert sql("-rank", Dialect.MYSQL) == ["rank DESC", "id DESC"]
    assert sql("rank", Dialect.SQLITE) == ["rank ASC NULLS LAST", "id ASC"]
    assert sql("age", Dialect.SQLITE) == ["age ASC", "id ASC"]


def test_decimals_sort_by_number_on_sqlite():
    assert sql("-price", Dialect.SQLITE)[0] == "price COLLATE dataflow_decimal DESC"


def test_long_texts_sort_by_their_first_characters_on_mysql():
    assert sql("-name", Dialect.MYSQL) == ["left(name, 2048) DESC", "id DESC"]
    assert sql("raw", Dialect.MYSQL)[1] == "left(raw, 2048) ASC"
    assert sql("status", Dialect.MYSQL)[0] == "status ASC"
    assert sql("name", Dialect.SQLITE)[0] == sql("name", Dialect.POSTGRESQL)[0] == "name ASC"


def test_unknown_field():
    with pytest.raises(UnknownFieldError, match="Did you mean 'age'"):
        parse_sort(SPEC, "-agee")
    with pytest.raises(UnknownFieldError):
        parse_sort(SPEC, "age; DROP TABLE items")


@pytest.mark.parametrize("sort", [5, 0, [5], [None], [{}], [["age", "desc"]]])
def test_what_is_no_sort(sort):
    with pytest.raises(TypeMismatchError, match="a sort key is text or a dict"):
        parse_sort(SPEC, sort)


@pytest.mark.parametrize("direction", [0, 2, True, "down", None, [1]])
def test_unknown_direction(direction):
    with pytest.raises(InputError, match="direction"):
        parse_sort(SPEC, [{"age": direction}])


def test_json_has_no_order():
    with pytest.raises(InputError, match="no order"):
        parse_sort(SPEC, "data")


def test_keys_over_other_names():
    assert parse_keys(["-total", "status"], ["status", "total"], "orders") == (("total", True), ("status", False))
