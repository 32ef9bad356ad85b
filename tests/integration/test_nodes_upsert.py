"""Upsert, with one meaning on three databases."""

from __future__ import annotations

import asyncio
import warnings
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from dataflow.databases.interface import Capabilities
from dataflow.errors import (
    InputError,
    MissingParameterError,
    NotNullViolationError,
    TypeMismatchError,
    UniqueViolationError,
    UnknownFieldError,
    UnknownParameterError,
)
from dataflow.nodes.generated.upsert import UpsertNode
from tests.integration.bulk_models import Account, Event, Everything, Product, Shop, Tag, open_shop


async def upsert(shop: Shop, model: type[Any] = Product, **inputs: Any) -> dict[str, Any]:
    return await shop.run(UpsertNode, model, **inputs)


async def test_a_row_that_is_not_there_is_created(shop: Shop) -> None:
    result = await upsert(shop, where={"sku": "a"}, create={"price": "9.50"}, update={"name": "ignored"})
    assert (result["created"], result["action"]) == (True, "created")
    record = result["record"]
    assert record["sku"] == "a"
    assert record["name"] == "unnamed"
    assert record["price"] == Decimal("9.50")
    assert record["stock"] is None
    assert record["created_at"] == record["updated_at"]
    assert await shop.rows(Product) == [record]


async def test_a_row_that_is_there_is_updated_by_update_alone(shop: Shop) -> None:
    before = (await upsert(shop, where={"sku": "a"}, create={"price": 5, "stock": 3}))["record"]
    result = await upsert(
        shop,
        where={"sku": "a"},
        create={"name": "from create", "price": 100},
        update={"price": {"$multiply": 2}, "stock": {"$inc": 1}},
    )
    record = result["record"]
    assert (result["created"], result["action"]) == (False, "updated")
    assert (record["id"], record["name"], record["price"], record["stock"]) == (before["id"], "unnamed", Decimal(10), 4)
    assert record["created_at"] == before["created_at"]
    assert record["updated_at"] > before["updated_at"]
    assert await shop.rows(Product) == [record]


async def test_without_an_update_the_row_stays_as_it_is(shop: Shop) -> None:
    before = (await upsert(shop, where={"sku": "a"}, create={"price": 5}))["record"]
    result = await upsert(shop, where={"sku": "a"}, create={"price": 100})
    assert result == {"created": False, "record": before, "action": "updated"}


async def test_the_key_may_be_the_id(shop: Shop) -> None:
    assert (await upsert(shop, Tag, where={"id": "t"}, create={"label": "T"}))["created"]
    result = await upsert(shop, Tag, where={"id": "t"}, create={"label": "T"}, update={"uses": {"$inc": 1}})
    assert (result["created"], result["record"]["uses"]) == (False, 1)


async def test_an_id_that_is_given_does_not_meet_those_generated_later(shop: Shop) -> None:
    await upsert(shop, where={"id": 5}, create={"sku": "five"})
    ids = [(await upsert(shop, where={"sku": f"s{i}"}))["record"]["id"] for i in range(3)]
    assert min(ids) > 5


async def test_ids_made_by_the_client_are_returned(shop: Shop) -> None:
    first = await upsert(shop, Event, where={"id": "01890a5d-ac96-774b-bcce-b302099a8057"}, create={"title": "x"})
    again = await upsert(shop, Event, where={"id": first["record"]["id"]}, update={"title": "y"}, create={"title": "z"})
    assert (again["created"], again["record"]["title"]) == (False, "y")


async def test_conflict_on_names_the_key_within_where(shop: Shop) -> None:
    where = {"region": "us", "number": 7, "email": "a"}
    first = await upsert(shop, Account, where=where, conflict_on=["number", "region"])
    again = await upsert(
        shop, Account, where={**where, "email": "b"}, conflict_on=["region", "number"], update={"credit": 5}
    )
    assert first["created"]
    assert not again["created"]
    assert (again["record"]["email"], again["record"]["credit"]) == ("a", 5)


async def test_the_key_itself_may_be_updated(shop: Shop) -> None:
    await upsert(shop, where={"sku": "old"})
    result = await upsert(shop, where={"sku": "old"}, update={"sku": "new"})
    assert (result["created"], result["record"]["sku"]) == (False, "new")


async def test_another_unique_key_is_an_error_on_every_database(shop: Shop) -> None:
    await upsert(shop, Account, where={"email": "a"}, create={"handle": "h"})
    with pytest.raises(UniqueViolationError) as caught:
        await upsert(shop, Account, where={"email": "b"}, create={"handle": "h", "number": 1}, update={"credit": 1})
    assert caught.value.context["model"] == "Account"
    assert [row["email"] for row in await shop.rows(Account)] == ["a"]


async def test_text_keys_are_compared_by_code_point(shop: Shop) -> None:
    created = [
        (await upsert(shop, where={"sku": sku}, update={"stock": 1}))["created"] for sku in ("a", "A", "a ", "ä")
    ]
    assert created == [True] * 4


@pytest.mark.parametrize("update", [{}, {"stock": {"$inc": 1}}])
async def test_of_many_calls_at_once_one_creates(shop: Shop, update: dict[str, Any]) -> None:
    results = await asyncio.gather(
        *(upsert(shop, where={"sku": "a"}, create={"stock": 0}, update=update) for _ in range(20))
    )
    assert sum(result["created"] for result in results) == 1
    (row,) = await shop.rows(Product)
    assert row["stock"] == (19 if update else 0)


async def test_managed_timestamps_are_stripped_with_one_warning(shop: Shop) -> None:
    with pytest.warns(UserWarning, match="AUTO-STRIPPED"):
        await upsert(shop, where={"sku": "a"}, create={"created_at": "2000-01-01"}, update={"updated_at": "2000-01-01"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await upsert(shop, where={"sku": "a"}, update={"updated_at": "2000-01-01"})


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({}, MissingParameterError, "'where'"),
        ({"where": {}}, MissingParameterError, "'where' is empty"),
        ({"where": {"sku": None}}, NotNullViolationError, "sku must not be None"),
        ({"where": {"skew": "a"}}, UnknownFieldError, "Did you mean 'sku'"),
        ({"where": {"name": "a"}}, InputError, r"name: str = Field\(unique=True\)"),
        ({"where": {"sku": {"$gt": "a"}}}, TypeMismatchError, "sku is str, got dict"),
        ({"where": {"sku": "a"}, "conflict_on": ["id"]}, MissingParameterError, "must give 'id'"),
        ({"where": {"sku": "a"}, "conflict_on": ["stock"]}, InputError, "covered by no unique index"),
        ({"where": {"sku": "a"}, "create": {"sku": "b"}}, InputError, "different values"),
        ({"where": {"sku": "a"}, "create": {"stock": "x"}}, TypeMismatchError, "stock is int"),
        ({"where": {"sku": "a"}, "update": {"stok": 1}}, UnknownFieldError, "Did you mean 'stock'"),
        ({"where": {"sku": "a"}, "update": {"id": 1}}, InputError, "id cannot be changed"),
        ({"where": {"sku": "a"}, "set": {}}, UnknownParameterError, "no parameter 'set'"),
        ({"where": {"sku": "a"}, "tenant_id": "t"}, UnknownParameterError, "no parameter"),
    ],
)
async def test_bad_input_is_refused(shop: Shop, inputs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        await upsert(shop, **inputs)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"where": {"name": "a"}}, "covered by no unique index"),
        ({"where": {"sku": "a"}, "create": {"prise": 1}}, "Did you mean 'price'"),
        ({"where": {"sku": "a"}, "update": {"stock": {"$incr": 1}}}, "Did you mean '\\$inc'"),
    ],
)
async def test_what_is_known_is_checked_when_a_workflow_is_built(
    sqlite_url: str, inputs: dict[str, Any], message: str
) -> None:
    async with open_shop(sqlite_url) as shop:
        with pytest.raises(InputError, match=message):
            shop.node(UpsertNode, Product).check(inputs, ())
        shop.node(UpsertNode, Product).check({"where": {"sku": "a"}, "update": {"stock": 1}}, ("create",))


async def test_a_null_in_a_nullable_key_is_refused(shop: Shop) -> None:
    with pytest.raises(
        MissingParameterError, match="must give 'handle', by which the row is recognised, and not as None"
    ):
        await upsert(shop, Account, where={"handle": None}, create={"email": "a"})


async def test_a_model_without_unique_fields_has_its_id(shop: Shop) -> None:
    with pytest.raises(InputError, match="covered by no unique index"):
        await upsert(shop, Everything, where={"text": "a"})


async def test_servers_that_cannot_return_what_they_insert(mysql_db_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_shop(mysql_db_url) as shop:
        can = replace(await shop.database.capabilities(), insert_returning=False)

        async def capabilities() -> Capabilities:
            return can

        monkeypatch.setattr(shop.database, "capabilities", capabilities)
        result = await upsert(shop, where={"sku": "a"}, create={"stock": 1}, update={"stock": {"$inc": 1}})
        assert result["created"]
        assert await shop.rows(Product) == [result["record"]]
