"""BulkUpsert, BulkUpdate and BulkDelete, with one meaning on three databases."""

from __future__ import annotations

import asyncio
import warnings
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from dataflow.errors import (
    ConfirmationRequiredError,
    DataFlowError,
    InputError,
    MissingParameterError,
    NotNullViolationError,
    TypeMismatchError,
    UniqueViolationError,
    UnknownFieldError,
    UnknownParameterError,
)
from dataflow.nodes.generated.bulk_create import BulkCreateNode
from dataflow.nodes.generated.bulk_delete import BulkDeleteNode
from dataflow.nodes.generated.bulk_update import BulkUpdateNode
from dataflow.nodes.generated.bulk_upsert import BulkUpsertNode
from tests.integration.bulk_models import Account, Event, Everything, Product, Shop, Status, Tag, open_shop


async def stock(shop: Shop, count: int = 5) -> list[int]:
    """Some products; their ids."""
    rows = [{"sku": f"s{i}", "name": f"n{i}", "price": i, "stock": i} for i in range(count)]
    ids: list[int] = (await shop.run(BulkCreateNode, Product, data=rows, return_ids=True))["ids"]
    return ids


async def column(shop: Shop, name: str, model: type[Any] = Product) -> list[Any]:
    return [row[name] for row in await shop.rows(model)]


# Upsert


async def test_upsert_creates_and_updates(shop: Shop) -> None:
    rows = [{"id": f"t{i}", "label": f"l{i}"} for i in range(4)]
    first = await shop.run(BulkUpsertNode, Tag, data=rows[:2])
    assert first == {
        "processed": 2,
        "upserted": 2,
        "inserted": 2,
        "updated": 0,
        "skipped": 0,
        "batch_size": 1000,
        "operation": "bulk_upsert",
        "success": True,
    }
    before = {row["id"]: row for row in await shop.rows(Tag)}
    result = await shop.run(
        BulkUpsertNode, Tag, data=[{**row, "label": "new", "uses": 7} for row in rows], batch_size=3, return_ids=True
    )
    assert (result["upserted"], result["inserted"], result["updated"]) == (4, 2, 2)
    assert result["ids"] == ["t0", "t1", "t2", "t3"]
    after = {row["id"]: row for row in await shop.rows(Tag)}
    assert {row["label"] for row in after.values()} == {"new"}
    assert after["t0"]["created_at"] == before["t0"]["created_at"]
    assert after["t0"]["updated_at"] > before["t0"]["updated_at"]


async def test_an_update_sets_what_the_row_gives_never_a_default(shop: Shop) -> None:
    await shop.run(
        BulkUpsertNode, Tag, data=[{"id": "a", "label": "A", "uses": 9}, {"id": "b", "label": "B", "uses": 9}]
    )
    await shop.run(BulkUpsertNode, Tag, data=[{"id": "a", "label": "A2"}, {"id": "b", "label": "B2", "uses": 1}])
    assert [(row["label"], row["uses"]) for row in await shop.rows(Tag)] == [("A2", 9), ("B2", 1)]


async def test_update_fields_narrow_the_update(shop: Shop) -> None:
    await shop.run(BulkUpsertNode, Tag, data=[{"id": "a", "label": "A", "uses": 1}])
    data = [{"id": "a", "label": "A2", "uses": 2}, {"id": "b", "label": "B2", "uses": 2}]
    await shop.run(BulkUpsertNode, Tag, data=data, update_fields=["uses"])
    assert [(row["label"], row["uses"]) for row in await shop.rows(Tag)] == [("A", 2), ("B2", 2)]


@pytest.mark.parametrize("resolution", ["skip", "ignore"])
async def test_rows_that_are_there_can_be_skipped(shop: Shop, resolution: str) -> None:
    await shop.run(BulkUpsertNode, Tag, data=[{"id": "a", "label": "A"}])
    data = [{"id": "a", "label": "A2"}, {"id": "b", "label": "B"}]
    result = await shop.run(BulkUpsertNode, Tag, data=data, conflict_resolution=resolution)
    assert (result["inserted"], result["updated"], result["skipped"], result["upserted"]) == (1, 0, 1, 1)
    assert await column(shop, "label", Tag) == ["A", "B"]


async def test_a_key_that_comes_twice_is_as_if_written_twice(shop: Shop) -> None:
    data = [{"id": "a", "label": "A", "uses": 1}, {"id": "b", "label": "B"}, {"id": "a", "label": "A2"}]
    for batch_size in (10, 1):
        result = await shop.run(BulkUpsertNode, Tag, data=data, batch_size=batch_size)
        assert result["inserted"] + result["updated"] == 3
        assert result["inserted"] == (2 if batch_size == 10 else 0)
        assert [(row["label"], row["uses"]) for row in await shop.rows(Tag)] == [("A2", 1), ("B", 0)]


async def test_rows_without_the_generated_id_are_new(shop: Shop) -> None:
    ids = await stock(shop, 2)
    data = [{"id": ids[0], "sku": "s0", "name": "renamed"}, {"sku": "x"}, {"id": 900, "sku": "y"}]
    result = await shop.run(BulkUpsertNode, Product, data=data, return_ids=True)
    assert (result["inserted"], result["updated"]) == (2, 1)
    stored = {row["id"]: (row["sku"], row["name"]) for row in await shop.rows(Product)}
    assert [stored[row_id] for row_id in result["ids"]] == [("s0", "renamed"), ("x", "unnamed"), ("y", "unnamed")]


async def test_a_key_over_several_fields(shop: Shop) -> None:
    data = [{"email": f"e{i}", "region": "us", "number": i} for i in range(3)]
    await shop.run(BulkUpsertNode, Account, data=data, conflict_on=["region", "number"])
    changed = [{"email": f"e{i}", "region": "us", "number": i, "credit": i} for i in range(5)]
    result = await shop.run(BulkUpsertNode, Account, data=changed, conflict_on=["number", "region"], return_ids=True)
    assert (result["inserted"], result["updated"]) == (2, 3)
    assert await column(shop, "credit", Account) == [0, 1, 2, 3, 4]
    assert result["ids"] == await column(shop, "id", Account)


@pytest.mark.parametrize("there", [0, 600, 1_300])
async def test_many_rows_of_which_some_are_there(shop: Shop, there: int) -> None:
    rows = [{"email": f"e{i}", "region": f"r{i % 7}", "number": i} for i in range(1_300)]
    await shop.run(BulkCreateNode, Account, data=rows[:there])
    changed = [{**row, "credit": row["number"]} for row in rows]
    result = await shop.run(BulkUpsertNode, Account, data=changed, conflict_on=["region", "number"], return_ids=True)
    assert (result["inserted"], result["updated"]) == (len(rows) - there, there)
    stored = {row["id"]: row for row in await shop.rows(Account)}
    assert [stored[row_id]["number"] for row_id in result["ids"]] == list(range(1_300))
    assert all(row["credit"] == row["number"] for row in stored.values())
    # All rows of a call carry one moment.
    assert len({row["updated_at"] for row in stored.values()}) == 1


async def test_another_unique_key_is_an_error_on_every_database(shop: Shop) -> None:
    await shop.run(BulkCreateNode, Account, data=[{"email": "a", "handle": "h"}, {"email": "b", "number": 1}])
    for data in ([{"email": "c", "handle": "h", "number": 2}], [{"email": "b", "handle": "h", "number": 3}]):
        with pytest.raises(UniqueViolationError, match="Row 0: ") as caught:
            await shop.run(BulkUpsertNode, Account, data=data, conflict_on=["email"])
        assert caught.value.context["fields"] == ["handle"]
    assert await column(shop, "handle", Account) == ["h", None]


async def test_text_keys_are_compared_by_code_point(shop: Shop) -> None:
    for expected in ((4, 0), (0, 4)):
        data = [{"id": key, "label": key} for key in ("a", "A", "a ", "ä")]
        result = await shop.run(BulkUpsertNode, Tag, data=data)
        assert (result["inserted"], result["updated"]) == expected


async def test_upserts_at_once_end_as_one_of_them(shop: Shop) -> None:
    data = [{"id": f"t{i:03}", "label": "x"} for i in range(100)]

    async def upsert(label: str) -> tuple[int, int]:
        result = await shop.run(BulkUpsertNode, Tag, data=[{**row, "label": label} for row in data])
        return result["inserted"], result["updated"]

    counts = await asyncio.gather(*(upsert(f"l{i}") for i in range(8)))
    assert sorted(counts) == [(0, 100)] * 7 + [(100, 0)]
    assert len(set(await column(shop, "label", Tag))) == 1


async def test_an_upsert_of_every_type(shop: Shop) -> None:
    row = {
        "text": "é😀 ' \\ %s",
        "number": -(2**63),
        "real": 5e-324,
        "flag": True,
        "amount": Decimal("-0.0000000001"),
        "moment": datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=UTC),
        "day": date(2026, 1, 31),
        "hour": time(23, 59, 59, 999999),
        "span": timedelta(days=-1, microseconds=5),
        "key": UUID(int=7),
        "raw": bytes(range(256)),
        "document": {"a": [1, None, {"b": "é"}]},
        "items": [1.5],
        "status": Status.SOLD,
        "maybe": None,
    }
    blank = {
        **row, "text": "", "number": 0, "real": 0.0, "flag": False, "amount": 0, "raw": b"", "document": {},
        "items": [],
        "status": "new", "maybe": "m", "key": UUID(int=0), "span": timedelta(0), "hour": time(0), "day": date(1, 1, 2),
        "moment": datetime(1970, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    ids = (await shop.run(BulkCreateNode, Everything, data=[blank, blank, blank], return_ids=True))["ids"]
    await shop.run(BulkUpsertNode, Everything, data=[{"id": ids[0], **row}])
    result = await shop.run(BulkUpdateNode, Everything, data=[{"id": ids[1], **row}])
    assert result["updated"] == 1
    first, second, third = await shop.rows(Everything)
    assert {name: first[name] for name in row} == row
    assert {name: second[name] for name in row} == row
    assert {name: third[name] for name in row} == {**blank, "status": Status.NEW}


# Update


async def test_update_of_the_rows_that_match(shop: Shop) -> None:
    await stock(shop)
    before = await shop.rows(Product)
    result = await shop.run(
        BulkUpdateNode, Product, filter={"stock": {"$gte": 2}}, fields={"price": {"$multiply": 0.5}, "name": "half"}
    )
    assert result == {
        "processed": 3,
        "updated": 3,
        "batch_size": 1000,
        "operation": "bulk_update",
        "success": True,
    }
    assert await column(shop, "price") == [0, 1, 1, Decimal("1.5"), 2]
    assert await column(shop, "name") == ["n0", "n1", "half", "half", "half"]
    after = await shop.rows(Product)
    assert [row["updated_at"] > old["updated_at"] for row, old in zip(after, before, strict=True)] == [False] * 2 + [
        True
    ] * 3


@pytest.mark.parametrize("alias", ["fields", "update", "updates"])
async def test_fields_has_aliases_and_counts_are_the_rows_matched(shop: Shop, alias: str) -> None:
    await stock(shop)
    for _ in range(2):
        result = await shop.run(BulkUpdateNode, Product, filter={"stock": {"$lt": 3}}, **{alias: {"name": "same"}})
        assert result["updated"] == 3


async def test_a_limit_takes_the_lowest_ids(shop: Shop) -> None:
    await stock(shop)
    result = await shop.run(
        BulkUpdateNode, Product, filter={"stock": {"$gt": 0}}, fields={"stock": {"$inc": 10}}, limit=2
    )
    assert (result["processed"], result["updated"]) == (2, 2)
    assert await column(shop, "stock") == [0, 11, 12, 3, 4]


async def test_rows_with_values_of_their_own(shop: Shop) -> None:
    ids = await stock(shop)
    data = [
        {"id": ids[4], "stock": 40},
        {"id": ids[0], "stock": None, "name": "zero"},
        {"id": ids[1], "stock": 10},
        {"id": 10_000, "stock": 1},
        {"id": ids[1], "name": "one"},
    ]
    before = await shop.rows(Product)
    result = await shop.run(BulkUpdateNode, Product, data=iter(data), batch_size=5)
    assert (result["processed"], result["updated"]) == (5, 3)
    assert await column(shop, "stock") == [None, 10, 2, 3, 40]
    assert await column(shop, "name") == ["zero", "one", "n2", "n3", "n4"]
    assert (await shop.rows(Product))[0]["updated_at"] > before[0]["updated_at"]
    assert (await shop.rows(Product))[2] == before[2]


async def test_rows_by_ids_of_other_types(shop: Shop) -> None:
    event = (await shop.run(BulkCreateNode, Event, data=[{"title": "a"}], return_ids=True))["ids"][0]
    assert (await shop.run(BulkUpdateNode, Event, data=[{"id": str(event), "title": "b"}]))["updated"] == 1
    await shop.run(BulkCreateNode, Tag, data=[{"id": "ä", "label": "a"}])
    assert (await shop.run(BulkUpdateNode, Tag, data=[{"id": "ä", "label": "b"}]))["updated"] == 1
    assert await column(shop, "title", Event) == await column(shop, "label", Tag) == ["b"]


async def test_many_rows_in_batches(shop: Shop) -> None:
    ids = await stock(shop, 250)
    result = await shop.run(BulkUpdateNode, Product, data=[{"id": i, "stock": -i} for i in ids], batch_size=100)
    assert (result["processed"], result["updated"]) == (250, 250)
    assert await column(shop, "stock") == [-i for i in ids]


async def test_an_update_is_all_or_nothing(shop: Shop) -> None:
    ids = await stock(shop)
    data = [{"id": ids[0], "stock": 100}, {"id": ids[1], "sku": "s4"}]
    with pytest.raises(UniqueViolationError, match="Rows 1 to 1: ") as caught:
        await shop.run(BulkUpdateNode, Product, data=data, batch_size=1)
    assert caught.value.context["model"] == "Product"
    with pytest.raises(UniqueViolationError):
        await shop.run(BulkUpdateNode, Product, filter={"stock": {"$lt": 2}}, fields={"sku": "same"})
    assert await column(shop, "stock") == [0, 1, 2, 3, 4]


async def test_an_update_of_everything_wants_to_be_confirmed(shop: Shop) -> None:
    await stock(shop)
    with pytest.raises(ConfirmationRequiredError, match="matches everything, 5 rows") as caught:
        await shop.run(BulkUpdateNode, Product, filter={}, fields={"stock": 0})
    assert caught.value.context["rows"] == 5
    result = await shop.run(BulkUpdateNode, Product, filter={}, fields={"stock": 0}, confirmed=True)
    assert result["updated"] == 5


async def test_timestamps_are_stripped_from_updates(shop: Shop) -> None:
    ids = await stock(shop, 1)
    with pytest.warns(UserWarning, match="AUTO-STRIPPED"):
        await shop.run(BulkUpdateNode, Product, data=[{"id": ids[0], "stock": 1, "updated_at": "2000-01-01"}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await shop.run(BulkUpdateNode, Product, filter={"stock": 1}, fields={"stock": 2, "created_at": "2000-01-01"})
    (row,) = await shop.rows(Product)
    assert (row["stock"], row["created_at"].year > 2000, row["updated_at"].year > 2000) == (2, True, True)


# Delete


async def test_delete_of_the_rows_that_match(shop: Shop) -> None:
    await stock(shop)
    result = await shop.run(BulkDeleteNode, Product, filter={"stock": {"$gte": 3}})
    assert result == {
        "processed": 2,
        "deleted": 2,
        "batch_size": 1000,
        "operation": "bulk_delete",
        "success": True,
    }
    assert (await shop.run(BulkDeleteNode, Product, conditions={"stock": {"$gt": 0}}, limit=1))["deleted"] == 1
    assert await column(shop, "stock") == [0, 2]


async def test_delete_by_ids(shop: Shop) -> None:
    ids = await stock(shop, 30)
    result = await shop.run(BulkDeleteNode, Product, ids=iter([*ids[:25], ids[0], 10_000]), batch_size=10)
    assert (result["processed"], result["deleted"]) == (27, 25)
    result = await shop.run(BulkDeleteNode, Product, data=[{"id": ids[25]}, {"id": ids[26], "sku": "x"}])
    assert (result["processed"], result["deleted"]) == (2, 2)
    assert await column(shop, "id") == ids[27:]
    assert (await shop.run(BulkDeleteNode, Product, ids=[]))["deleted"] == 0
    assert len(await shop.rows(Product)) == 3


async def test_delete_by_ids_of_other_types(shop: Shop) -> None:
    event = (await shop.run(BulkCreateNode, Event, data=[{"title": "a"}], return_ids=True))["ids"][0]
    assert (await shop.run(BulkDeleteNode, Event, ids=[event]))["deleted"] == 1
    await shop.run(BulkCreateNode, Tag, data=[{"id": "a", "label": "a"}, {"id": "A", "label": "A"}])
    assert (await shop.run(BulkDeleteNode, Tag, ids=("a", "a ")))["deleted"] == 1
    assert await column(shop, "id", Tag) == ["A"]


async def test_delete_by_more_text_than_one_statement_holds(shop: Shop) -> None:
    ids = [f"{number:0600}" for number in range(5_000)]
    await shop.run(BulkCreateNode, Tag, data=[{"id": row_id, "label": "x"} for row_id in [*ids, "kept"]])
    assert (await shop.run(BulkDeleteNode, Tag, ids=ids, batch_size=5_000))["deleted"] == 5_000
    assert await column(shop, "id", Tag) == ["kept"]


async def test_a_delete_of_everything_wants_to_be_confirmed(shop: Shop) -> None:
    await stock(shop)
    for where in ({}, {"$and": [{}]}, {"sku": {"$nin": []}}):
        with pytest.raises(ConfirmationRequiredError, match="5 rows"):
            await shop.run(BulkDeleteNode, Product, filter=where)
    with pytest.raises(ConfirmationRequiredError):
        await shop.run(BulkDeleteNode, Product, filter={}, limit=2)
    assert (await shop.run(BulkDeleteNode, Product, filter={}, limit=2, confirmed=True))["deleted"] == 2
    assert (await shop.run(BulkDeleteNode, Product, filter={}, confirmation_required=False))["deleted"] == 3


# Bad input


@pytest.mark.parametrize(
    ("kind", "inputs", "error", "message"),
    [
        (BulkUpsertNode, {}, MissingParameterError, "'data'"),
        (BulkUpsertNode, {"data": [], "conflict_on": ["name"]}, InputError, "no unique index"),
        (
            BulkUpsertNode,
            {"data": [], "conflict_resolution": "error"},
            InputError,
            "Known: ignore, skip, update, upsert",
        ),
        (BulkUpsertNode, {"data": [], "update_fields": ["stok"]}, UnknownFieldError, "Did you mean 'stock'"),
        (BulkUpsertNode, {"data": [], "update_fields": ["id"]}, InputError, "never sets"),
        (BulkUpsertNode, {"data": [{"sku": "a"}, {"sku": 3}]}, TypeMismatchError, r"Row 1: Product\.sku"),
        (BulkUpsertNode, {"data": [], "on_error": "continue"}, UnknownParameterError, "no parameter 'on_error'"),
        (BulkUpdateNode, {}, MissingParameterError, "filter, data"),
        (BulkUpdateNode, {"confirmed": True, "fields": {"stock": 1}}, MissingParameterError, "filter, data"),
        (BulkUpdateNode, {"filter": {"stock": 1}}, MissingParameterError, "'fields'"),
        (BulkUpdateNode, {"filter": {"stock": 1}, "fields": {}}, MissingParameterError, "nothing to change"),
        (BulkUpdateNode, {"filter": {"stok": 1}, "fields": {"stock": 1}}, UnknownFieldError, "Did you mean 'stock'"),
        (BulkUpdateNode, {"filter": {"stock": 1}, "fields": {"stok": 1}}, UnknownFieldError, "Did you mean 'stock'"),
        (BulkUpdateNode, {"filter": {"stock": 1}, "fields": {"id": 1}}, InputError, "id cannot be changed"),
        (BulkUpdateNode, {"filter": {"stock": 1}, "data": []}, InputError, "both say which rows"),
        (BulkUpdateNode, {"data": [], "fields": {"stock": 1}}, InputError, "'fields' goes with 'filter'"),
        (BulkUpdateNode, {"data": [], "limit": 1}, InputError, "'limit' goes with 'filter'"),
        (BulkUpdateNode, {"data": [{"stock": 1}]}, MissingParameterError, "Row 0: .*'id' says which row"),
        (BulkUpdateNode, {"data": [{"id": 1, "sku": None}]}, NotNullViolationError, r"Row 0: Product\.sku"),
        (BulkUpdateNode, {"data": [{"id": 1, "sku": {"$set": "a"}}]}, TypeMismatchError, r"Row 0: Product\.sku"),
        (BulkUpdateNode, {"data": [{"id": "x", "sku": "a"}]}, TypeMismatchError, r"Row 0: Product\.id"),
        (BulkDeleteNode, {}, MissingParameterError, "filter, ids, data"),
        (BulkDeleteNode, {"confirmed": True}, MissingParameterError, "filter, ids, data"),
        (BulkDeleteNode, {"ids": [1, "x"]}, TypeMismatchError, r"Row 1: Product\.id"),
        (BulkDeleteNode, {"ids": 3}, TypeMismatchError, "takes"),
        (BulkDeleteNode, {"ids": [1], "filter": {"stock": 1}}, InputError, "both say which rows"),
        (BulkDeleteNode, {"data": [{"sku": "a"}]}, MissingParameterError, "Row 0: .*no 'id'"),
        (BulkDeleteNode, {"filter": {"stock": 1}, "soft_delete": True}, InputError, "cannot be soft-deleted"),
        (BulkDeleteNode, {"filter": {"stock": 1}, "limit": -1}, InputError, "limit is -1"),
    ],
)
async def test_bad_input_is_refused(
    sqlite_url: str, kind: Any, inputs: dict[str, Any], error: type[DataFlowError], message: str
) -> None:
    async with open_shop(sqlite_url) as shop:
        await stock(shop)
        with pytest.raises(error, match=message):
            await shop.run(kind, Product, **inputs)
        assert await column(shop, "stock") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("kind", "inputs", "message"),
    [
        (BulkUpdateNode, {"filter": {"stok": 1}}, "Did you mean 'stock'"),
        (BulkUpdateNode, {"fields": {"stok": 1}}, "Did you mean 'stock'"),
        (BulkUpdateNode, {"data": [{"id": 1, "stok": 1}]}, "Row 0: .*Did you mean 'stock'"),
        (BulkDeleteNode, {"conditions": {"stock": {"$gtt": 1}}}, "Did you mean"),
        (BulkDeleteNode, {"soft_delete": True}, "cannot be soft-deleted"),
        (BulkUpsertNode, {"update_fields": ["stok"]}, "Did you mean 'stock'"),
        (BulkUpsertNode, {"conflict_on": ["name"]}, "no unique index"),
    ],
)
async def test_what_is_known_is_checked_when_a_workflow_is_built(
    sqlite_url: str, kind: Any, inputs: dict[str, Any], message: str
) -> None:
    async with open_shop(sqlite_url) as shop:
        with pytest.raises(InputError, match=message):
            shop.node(kind, Product).check(inputs, ())
