"""Filters through relations: shapes, SQL, and what is refused. Their meaning is in tests/integration."""

import pytest
import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.errors import InvalidFilterError, TypeMismatchError, UnknownFieldError, UnknownOperatorError
from dataflow.models import Field, declare
from dataflow.models.tables import build_table
from dataflow.queries.bulk_plans import BulkPlans
from dataflow.queries.codecs import ModelCodec
from dataflow.queries.filter_parser import MAX_CONDITIONS, MAX_DEPTH
from dataflow.queries.filters import MAX_SQLITE_VALUES, Filter, parse_filter
from dataflow.queries.model import ModelRows
from dataflow.queries.operators import MAX_LIST
from dataflow.queries.plan import Plan
from dataflow.queries.select import count_rows
from tests.unit.shop import unquoted
from tests.unit.test_filters import MYSQL, PG, SQLITE


class Company:
    name: str
    meta: dict | None = None


class Customer:
    email: str | None = None
    score: int = 0
    company_id: int | None = None
    __dataflow__ = {"soft_delete": True, "multi_tenant": True}  # noqa: RUF012


class Device:
    id: str


class Order:
    total: int = 0
    customer_id: int | None = None
    parent_id: int | None = Field(None, references="Order")
    ghost_id: int | None = None
    device_id: int | None = None
    company_id: int | None = None
    company: str | None = None


def rows_of(dialect: Dialect) -> ModelRows:
    found: dict[str, ModelRows] = {}
    for cls in (Company, Customer, Device, Order):
        spec = declare(cls, skip_validation=True)
        table = build_table(spec, sa.MetaData())
        found[spec.name] = ModelRows(ModelCodec(spec, dialect), dialect, table, found.get, include_deleted=False)
    return found["Order"]


ORDERS = {dialect: rows_of(dialect) for dialect in Dialect}


def parse(conditions, dialect=SQLITE) -> Filter:
    return parse_filter(ORDERS[dialect], conditions)


def plan(conditions, dialect=SQLITE) -> Plan:
    return count_rows(ORDERS[dialect], parse(conditions, dialect))


def sql(conditions, dialect=SQLITE) -> str:
    return unquoted(plan(conditions, dialect).sql).replace("\n", "").split("WHERE ", 1)[1]


def test_both_notations_are_one():
    nested = parse({"customer": {"company": {"meta": {"city": "Rome"}}}})
    dotted = parse({"customer.company.meta.city": "Rome"})
    assert (nested.shape, nested.values) == (dotted.shape, dotted.values)
    assert nested.values == ['$."city"', "Rome"]
    assert nested.shape[:2] == ("related", "customer")
    assert nested.shape[2][:2] == ("related", "company")


def test_related_rows_are_those_that_the_run_may_see():
    found = plan({"customer.email": "x"}, PG)
    assert unquoted(found.sql).replace("\n", "").split("WHERE ", 1)[1] == (
        "EXISTS (SELECT 1 FROM customers AS r1 WHERE r1.tenant_id = $1::VARCHAR AND r1.deleted_at IS NULL"
        " AND r1.email = $2::VARCHAR AND r1.id = orders.customer_id)"
    )
    assert found.needs_tenant
    assert found.arguments(["x"], "mine") == ["mine", "x"]


def test_related_rows_of_a_model_itself():
    assert sql({"parent.parent": None}, PG) == (
        "EXISTS (SELECT 1 FROM orders AS r1 WHERE NOT (EXISTS (SELECT 1 FROM orders AS r2"
        " WHERE r2.id = r1.parent_id)) AND r1.id = orders.parent_id)"
    )


def test_mysql_keeps_the_ids_of_a_table_that_a_statement_changes():
    where = parse({"parent.total": 5}, MYSQL)
    plain = "EXISTS (SELECT 1 FROM orders AS r1 WHERE r1.total = %s AND r1.id = orders.parent_id)"
    assert sql({"parent.total": 5}, MYSQL) == plain
    deleted = BulkPlans(ORDERS[MYSQL]).delete_where(where, limited=False).sql
    assert deleted.replace("`", "").replace("\n", "") == (
        "DELETE FROM orders WHERE EXISTS (SELECT 1 FROM (SELECT DISTINCT r1.id AS id FROM orders AS r1"
        " WHERE r1.total = %s) AS r1_ids WHERE r1_ids.id = orders.parent_id)"
    )


def test_is_there():
    there = ("related", "customer", ("true",))
    for condition in ({"$exists": True}, {"$null": False}, {"score": {"$nin": []}}):
        assert parse({"customer": condition}).shape == there
    for condition in (None, {"$exists": False}, {"$null": True}):
        assert parse({"customer": condition}).shape == ("not", there)


def test_values_of_dropped_parts_are_dropped():
    found = parse({"customer": {"email": "x", "score": {"$in": []}}, "total": 3})
    assert (found.shape, found.values) == (("false",), [])
    found = parse({"$or": [{"customer": {"email": "x", "score": {"$in": []}}}, {"total": 3}]})
    assert (found.shape, found.values) == (("eq", "total"), [3])


def test_a_field_wins_over_a_relation_of_its_name():
    assert parse({"company": "x"}).shape == ("eq", "company")
    with pytest.raises(InvalidFilterError, match="'company', which is str"):
        parse({"company.name": "x"})


@pytest.mark.parametrize(
    ("conditions", "error", "words"),
    [
        ({"ghost.name": 1}, UnknownFieldError, r"Order\.ghost leads to the model 'Ghost', .*'ghost_id'"),
        ({"ghost": None}, UnknownFieldError, "not declared"),
        ({"device": {"id": "x"}}, InvalidFilterError, r"Order\.device_id is int, but Device\.id is str"),
        ({"customer": 5}, InvalidFilterError, "relation to Customer.*'customer_id'"),
        ({"customer": {}}, InvalidFilterError, "relation to Customer"),
        ({"customer": [1]}, InvalidFilterError, "relation to Customer"),
        ({"customer": {"$gt": 5}}, InvalidFilterError, r"\$gt belongs to a field"),
        ({"customer": {"$exists": 1}}, TypeMismatchError, "takes True or False"),
        ({"customer.": 1}, UnknownFieldError, "Customer has no field ''"),
        ({"customer": {"emial": "x"}}, UnknownFieldError, "Customer has no field 'emial'. Did you mean 'email'"),
        ({"customer.company.nme": "x"}, UnknownFieldError, "Company has no field 'nme'. Did you mean 'name'"),
        ({"custmer.email": "x"}, UnknownFieldError, "Order has no field 'custmer'. Did you mean 'customer'"),
        ({"customer": {"email": {"$lik": "x"}}}, UnknownOperatorError, r"Customer\.email"),
        ({"customer": {"score": "x"}}, TypeMismatchError, r"Customer\.score"),
        ({"customer.company.meta": 5}, InvalidFilterError, "this is a dict"),
        ({".".join(["parent"] * MAX_DEPTH) + ".parent.total": 1}, InvalidFilterError, "nested deeper"),
        ({"parent." * 100_000: 1}, InvalidFilterError, "nested deeper"),
    ],
)
def test_refused(conditions, error, words):
    with pytest.raises(error, match=words):
        parse(conditions)


def test_limits_hold_across_relations():
    assert parse({".".join(["parent"] * MAX_DEPTH) + ".total": 1}).values == [1]
    deep: dict = {"total": 1}
    for _ in range(MAX_DEPTH + 1):
        deep = {"parent": deep}
    with pytest.raises(InvalidFilterError, match="nested deeper"):
        parse(deep)
    half = [{"total": number} for number in range(MAX_CONDITIONS // 2)]
    assert len(parse({"$or": half, "parent": {"$or": half}}).values) == MAX_CONDITIONS
    with pytest.raises(InvalidFilterError, match="more than"):
        parse({"$or": half, "parent": {"$or": [*half, {"total": 1}]}})
    with pytest.raises(InvalidFilterError, match=f"{MAX_SQLITE_VALUES:,}"):
        parse({"parent.total": {"$in": list(range(MAX_LIST))}, "total": {"$in": list(range(MAX_LIST))}})
