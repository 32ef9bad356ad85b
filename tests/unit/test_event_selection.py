"""Which events a selection takes: models, operations, filters on typed values, transitions, changes, messages."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from dataflow.errors import InputError, InvalidFilterError, TypeMismatchError, UnknownFieldError, UnknownOperatorError
from dataflow.events.envelope import Event, Op, Source, decode, encode
from dataflow.events.selection import Selection
from dataflow.models import Field, declare
from tests.unit.shop import SPEC, Item, Status

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


class Customer:
    name: str


class Order:
    customer_id: int | None = None
    status: str
    email: str = Field(events="mask")
    password: str | None = Field(None, events="omit")


class Silent:
    __dataflow__ = {"events": False}  # noqa: RUF012
    name: str


ORDER = declare(Order, skip_validation=True)
MODELS = {
    "Item": SPEC,
    "Customer": declare(Customer, skip_validation=True),
    "Order": ORDER,
    "Silent": declare(Silent, skip_validation=True),
}
ROW = {
    "id": 7,
    "name": "Straße",
    "age": 30,
    "rank": None,
    "weight": 2.0,
    "active": True,
    "price": Decimal("9.50"),
    "status": Status.SOLD,
    "sold_at": datetime(2026, 1, 31, 12, 0, 0, 5, UTC),
    "day": date(2026, 1, 31),
    "hour": time(8, 30),
    "waited": timedelta(hours=1),
    "token": UUID(int=5),
    "raw": b"\x00\xff",
    "data": {"color": "red", "tags": ["a", "b"], "weight": 2.5, "none": None},
    "customer_id": 3,
    "created_at": NOW,
    "updated_at": NOW,
}


def event(op=Op.CREATE, before=None, after=None, spec=SPEC, changed=(), message=None):
    """An event as a reader gets it: written as JSON, and read."""
    source = Source(db="default", kind="sqlite", table=message or spec.table_name, model=None if message else spec.name)
    made = Event(id="1-0", op=op, before=before, after=after, changed=changed, source=source, ts=NOW, read_at=NOW)
    return decode(encode(made, None if message else spec), MODELS)


def takes(found, subject="Item", **asked):
    return Selection(MODELS, [subject], **asked).matches(found)


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"name": "Straße"},
        {"name": {"$ilike": "sTRASS%"}, "age": 30} | {"name": {"$ilike": "STRA%"}},
        {"name": {"$regex": "^Str.ße$"}},
        {"name": {"$contains": "aß"}, "rank": None},
        {"name": {"$startswith": "S"}, "token": UUID(int=5)},
        {"name": {"$endswith": "e"}, "token": str(UUID(int=5))},
        {"name": {"$like": "_tr%"}},
        {"age": {"$gt": 29, "$lte": 30}},
        {"age": {"$between": [30, 31]}},
        {"age": {"$in": [1, 30]}},
        {"rank": {"$nin": [1, 2]}},
        {"rank": {"$ne": 1}},
        {"rank": {"$null": True}, "age": {"$exists": True}},
        {"weight": 2},
        {"weight": {"$gte": 2.0}},
        {"active": True},
        {"price": "9.5"},
        {"price": {"$lt": 10, "$gt": "9.49"}},
        {"price": {"$in": ["9.500"]}},
        {"status": "sold"},
        {"status": {"$in": [Status.SOLD]}},
        {"sold_at": "2026-01-31T12:00:00.000005Z"},
        {"sold_at": {"$gt": "2026-01-31"}},
        {"day": {"$gte": date(2026, 1, 31)}},
        {"hour": {"$lt": time(9)}},
        {"waited": timedelta(hours=1)},
        {"raw": b"\x00\xff"},
        {"data.color": "red", "data.tags.1": "b"},
        {"data": {"weight": {"$gt": 2}}},
        {"data.none": None, "data.missing": None},
        {"$or": [{"age": 1}, {"$and": [{"age": 30}, {"active": True}]}]},
        {"$not": {"age": 31}, "$nor": [{"age": 1}, {"rank": {"$gt": 0}}]},
    ],
    ids=str,
)
def test_a_filter_means_what_it_means_in_a_list(conditions):
    found = event(after=ROW)
    assert takes(found, filter=conditions)
    if conditions:
        assert not takes(found, filter={"$not": conditions})


@pytest.mark.parametrize("conditions", [{"age": {"$in": []}}, {"rank": {"$gt": 0}}, {"name": "straße"}, {"price": 9}])
def test_a_filter_that_does_not_match(conditions):
    assert not takes(event(after=ROW), filter=conditions)
    assert takes(event(after=ROW), filter={"$not": conditions})


def test_a_delete_is_asked_for_the_row_before():
    assert takes(event(Op.DELETE, before=ROW), filter={"age": 30})
    assert not takes(event(Op.DELETE, before=ROW), filter={"age": 31})


def test_an_update_is_asked_for_the_row_after():
    assert not takes(event(Op.UPDATE, before=ROW, after=ROW | {"age": 31}), filter={"age": 30})


def test_what_brings_no_row_is_not_asked():
    assert takes(event(Op.TRUNCATE), filter={"age": 30}, operations=["truncate"])
    assert not takes(event(Op.DELETE), filter={"age": 30})


def test_what_was_not_told_does_not_match_and_a_warning_says_so_once(caplog):
    selection = Selection(MODELS, ["Item"], filter={"age": {"$ne": 30}})
    partial = event(Op.UPDATE, after={"id": 7, "name": "a"})
    assert not selection.matches(partial)
    assert not selection.matches(partial)
    assert [record.message.split(",")[0] for record in caplog.records] == ["A filter on Item asks for 'age'"]


@pytest.mark.parametrize(
    ("operations", "taken"),
    [
        ((), "cud"),
        (["update"], "u"),
        ("update", "u"),
        (["INSERT", "Delete"], "cd"),
        (["c", "r"], "cr"),
        (["read", "truncate", "ddl"], ["r", "t", "ddl"]),
    ],
)
def test_operations(operations, taken):
    assert [op for op in Op if op is not Op.MESSAGE and takes(event(op), operations=operations)] == [
        op for op in Op if op in list(taken)
    ]


def test_transition():
    asked = {"filter": {"age": 30}, "transition": True}
    other = ROW | {"age": 29}
    assert takes(event(Op.UPDATE, before=other, after=ROW), **asked)
    assert not takes(event(Op.UPDATE, before=ROW, after=ROW), **asked)
    assert not takes(event(Op.UPDATE, before=ROW, after=other), **asked)
    assert not takes(event(Op.DELETE, before=ROW), **asked)
    assert takes(event(Op.CREATE, after=ROW), **asked)
    # What cannot be told counts.
    assert takes(event(Op.UPDATE, after=ROW), **asked)
    assert takes(event(Op.UPDATE, before={"id": 7}, after=ROW), **asked)


def test_changed():
    assert takes(event(Op.UPDATE, before=ROW, after=ROW, changed=("age",)), changed=["name", "age"])
    assert not takes(event(Op.UPDATE, before=ROW, after=ROW, changed=("age",)), changed=["name"])
    assert takes(event(Op.UPDATE, after=ROW), changed="name")
    assert not takes(event(Op.CREATE, after=ROW), changed=["name"])


def test_a_masked_field_can_be_watched():
    row = {"id": 1, "status": "open", "email": "***"}
    found = event(Op.UPDATE, row, row, ORDER, ("email",))
    assert takes(found, Order, changed=["email"])


def test_messages():
    found = event(Op.MESSAGE, after={"total": 120.5, "who": {"name": "Ada"}, "$x": 1}, message="order_created")
    assert takes(found, "order_created")
    assert takes(found, "@order_created", operations=["delete"])
    assert not takes(found, "@order_paid")
    assert not takes(found, Order)
    assert takes(found, "order_created", filter={"total": {"$gt": 100}, "who.name": "Ada"})
    assert takes(found, "order_created", filter={"$or": [{"total": 1}, {"who": {"name": {"$in": ["Ada"]}}}]})
    assert not takes(found, "order_created", filter={"$not": {"total": {"$gt": 100}}})
    assert takes(found, "order_created", filter={"missing": None})


def test_streams():
    assert Selection(MODELS, [Item, "Order", "orders", "@ordered", "order_created"]).streams == (
        "items",
        "orders",
        "@ordered",
        "@order_created",
    )


@pytest.mark.parametrize(
    ("subjects", "asked", "error", "text"),
    [
        ([], {}, InputError, "No model"),
        (["Ordr"], {}, InputError, "Did you mean 'Order'"),
        (["order"], {}, InputError, "Did you mean 'Order'"),
        ([Status], {}, InputError, "no model 'Status'"),
        ([7], {}, InputError, "not by 7"),
        (["Silent"], {}, InputError, "has no events"),
        (["Item"], {"operations": ["updat"]}, InputError, "Did you mean 'update'"),
        (["Item"], {"filter": {"nmae": 1}}, UnknownFieldError, "Did you mean 'name'"),
        (["Item"], {"filter": {"name": {"$eqq": 1}}}, UnknownOperatorError, "Did you mean"),
        (["Item"], {"filter": {"age": "old"}}, TypeMismatchError, "age"),
        (["Item"], {"filter": [1]}, InvalidFilterError, "a filter is a dict"),
        (["Order"], {"filter": {"customer.name": "Ada"}}, InvalidFilterError, "is a relation"),
        (["Order"], {"filter": {"email": "a@b.example"}}, InvalidFilterError, "events='mask'"),
        (["Order"], {"filter": {"$not": {"password": None}}}, InvalidFilterError, "events='omit'"),
        (["Order"], {"changed": ["password"]}, InputError, "events='omit'"),
        (["Order"], {"changed": ["stauts"]}, UnknownFieldError, "Did you mean 'status'"),
        (["Order"], {"transition": True}, InputError, "no filter"),
        (["@paid"], {"filter": {"a": 1}, "transition": True}, InputError, "no row before"),
        (["@paid"], {"filter": {"a": {"$x": 1}}}, UnknownOperatorError, "paid"),
        (["@paid"], {"filter": {5: 1}}, InvalidFilterError, "text"),
    ],
)
def test_what_is_refused(subjects, asked, error, text):
    with pytest.raises(error, match=text):
        Selection(MODELS, subjects, **asked)


def test_values_of_other_programs_do_not_stop_it():
    assert not takes(event(after=ROW | {"price": "cheap"}), filter={"price": 1})
    assert not takes(event(after=ROW | {"sold_at": "once"}), filter={"$not": {"sold_at": None}})
