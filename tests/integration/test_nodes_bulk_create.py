"""BulkCreate, with one meaning on three databases."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from dataflow.errors import (
    InputError,
    MissingParameterError,
    NotNullViolationError,
    TypeMismatchError,
    UniqueViolationError,
    UnknownFieldError,
    UnknownParameterError,
)
from dataflow.nodes.generated.bulk_create import BulkCreateNode
from tests.integration.bulk_models import Account, Event, Everything, Product, Shop, Status, Tag, open_shop


async def create(shop: Shop, data: Any, model: type[Any] = Product, **inputs: Any) -> dict[str, Any]:
    return await shop.run(BulkCreateNode, model, data=data, **inputs)


def products(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"sku": f"s{i}", "name": f"n{i}", "price": i, "stock": i} for i in range(start, start + count)]


async def skus(shop: Shop) -> list[str]:
    return [row["sku"] for row in await shop.rows(Product)]


async def test_rows_are_stored_with_defaults_and_timestamps(shop: Shop) -> None:
    result = await create(shop, [{"sku": "a"}, {"sku": "b", "price": "1.50", "stock": 3}])
    assert result == {
        "processed": 2,
        "inserted": 2,
        "updated": 0,
        "skipped": 0,
        "failed": 0,
        "batch_size": 1000,
        "operation": "bulk_create",
        "success": True,
    }
    first, second = await shop.rows(Product)
    assert (first["name"], first["price"], first["stock"]) == ("unnamed", Decimal(0), None)
    assert (second["price"], second["stock"]) == (Decimal("1.50"), 3)
    assert first["created_at"] == first["updated_at"] == second["created_at"]
    assert abs(datetime.now(UTC) - first["created_at"]) < timedelta(minutes=1)


async def test_every_type_comes_back_as_it_was(shop: Shop) -> None:
    rows = [
        {
            "text": "é😀 'quoted' \"double\" \\ %s %% trailing  \n",
            "number": 2**63 - 1,
            "real": 0.1 + 0.2,
            "flag": True,
            "amount": Decimal("12345678901234567890.0123456789"),
            "moment": datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=UTC),
            "day": date(2026, 1, 31),
            "hour": time(23, 59, 59, 999999),
            "span": timedelta(days=-1, microseconds=5),
            "key": UUID(int=2**127 + 1),
            "raw": bytes(range(256)),
            "document": {"a": [1, None, {"b": "é"}], "": 0.5},
            "items": [],
            "status": Status.SOLD,
            "maybe": "m",
        },
        {
            "text": "",
            "number": -(2**63),
            "real": -0.0,
            "flag": False,
            "amount": Decimal("-1E-10"),
            "moment": datetime(1, 1, 2, tzinfo=UTC),
            "day": date(1, 1, 1),
            "hour": time(0),
            "span": timedelta(0),
            "key": UUID(int=0),
            "raw": b"",
            "document": {},
            "items": [None, "null", True],
            "status": Status.NEW,
            "maybe": None,
        },
    ]
    for inputs in ({}, {"return_ids": True}):
        await create(shop, rows, Everything, **inputs)
    stored = await shop.rows(Everything)
    assert len(stored) == 4
    for index, row in enumerate(stored):
        expected = rows[index % 2]
        assert {name: row[name] for name in expected} == expected
        assert {name: type(row[name]) for name in expected} == {name: type(expected[name]) for name in expected}


@pytest.mark.parametrize("alias", ["data", "records", "rows", "documents"])
async def test_data_has_aliases(shop: Shop, alias: str) -> None:
    result = await shop.run(BulkCreateNode, Product, **{alias: products(2)})
    assert result["inserted"] == 2


async def asynchronous(rows: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    for row in rows:
        yield row


@pytest.mark.parametrize("kind", [list, tuple, iter, asynchronous])
async def test_data_of_every_kind_in_batches(shop: Shop, kind: Any) -> None:
    result = await create(shop, kind(products(25)), batch_size=10, return_ids=True)
    assert (result["processed"], result["inserted"], result["batch_size"]) == (25, 25, 10)
    stored = {row["id"]: row["sku"] for row in await shop.rows(Product)}
    assert [stored[row_id] for row_id in result["ids"]] == [f"s{i}" for i in range(25)]


async def test_no_rows_are_no_error(shop: Shop) -> None:
    for data in ([], iter([])):
        result = await create(shop, data, return_ids=True)
        assert (result["processed"], result["inserted"], result["ids"]) == (0, 0, [])


async def test_columns_are_the_union_over_all_rows(shop: Shop) -> None:
    await create(shop, [{"sku": "a"}, {"sku": "b", "name": "B"}, {"stock": 1, "sku": "c"}], batch_size=2)
    assert [(row["sku"], row["name"], row["stock"]) for row in await shop.rows(Product)] == [
        ("a", "unnamed", None),
        ("b", "B", None),
        ("c", "unnamed", 1),
    ]


async def test_ids_follow_the_order_of_the_rows(shop: Shop) -> None:
    rows = products(1500)
    result = await create(shop, rows, return_ids=True, batch_size=5000)
    stored = {row["id"]: row["sku"] for row in await shop.rows(Product)}
    assert [stored[row_id] for row_id in result["ids"]] == [row["sku"] for row in rows]


async def test_ids_of_the_client_are_returned_too(shop: Shop) -> None:
    result = await create(shop, [{"title": "a"}, {"title": "b"}], Event, return_ids=True)
    assert all(type(row_id) is UUID for row_id in result["ids"])
    stored = {row["id"]: row["title"] for row in await shop.rows(Event)}
    assert [stored[row_id] for row_id in result["ids"]] == ["a", "b"]
    result = await create(shop, [{"id": "x", "label": "X"}], Tag, return_ids=True)
    assert result["ids"] == ["x"]


async def test_some_rows_may_bring_an_id(shop: Shop) -> None:
    rows = [{"sku": "a"}, {"sku": "b", "id": 50}, {"sku": "c", "id": None}, {"sku": "d", "id": 7}]
    ids = (await create(shop, rows, return_ids=True))["ids"]
    assert (ids[1], ids[3]) == (50, 7)
    stored = {row["id"]: row["sku"] for row in await shop.rows(Product)}
    assert [stored[row_id] for row_id in ids] == ["a", "b", "c", "d"]
    assert min(ids[0], ids[2]) > 50
    assert (await create(shop, [{"sku": "e"}], return_ids=True))["ids"][0] > 50


@pytest.mark.parametrize("wrap", [list, iter])
@pytest.mark.parametrize("return_ids", [True, False])
async def test_all_or_nothing_and_the_error_names_the_row(shop: Shop, wrap: Any, return_ids: bool) -> None:
    await create(shop, [{"sku": "s17"}])
    with pytest.raises(UniqueViolationError, match=r"Row 17: .*'s17' exists already") as caught:
        await create(shop, wrap(products(30)), batch_size=8, return_ids=return_ids)
    assert caught.value.context["row"] == 17
    assert caught.value.context["model"] == "Product"
    assert caught.value.context["fields"] == ["sku"]
    assert await skus(shop) == ["s17"]


async def test_one_batch_is_all_or_nothing_too(shop: Shop) -> None:
    await create(shop, [{"sku": "s4"}])
    with pytest.raises(UniqueViolationError, match="Row 4: "):
        await create(shop, products(10))
    assert await skus(shop) == ["s4"]


async def test_of_rows_that_violate_among_themselves_the_later_is_named(shop: Shop) -> None:
    with pytest.raises(UniqueViolationError, match="Row 9: "):
        await create(shop, [*products(9), {"sku": "s2"}, *products(3, 20)])
    assert await skus(shop) == []


async def test_a_later_bad_row_undoes_earlier_batches(shop: Shop) -> None:
    with pytest.raises(TypeMismatchError, match=r"Row 25: Product\.stock is int"):
        await create(shop, iter([*products(25), {"sku": "x", "stock": "many"}]), batch_size=10)
    assert await skus(shop) == []


async def test_go_on_after_bad_rows(shop: Shop) -> None:
    await create(shop, [{"sku": "s13"}])
    rows = products(30)
    rows[3] = {"sku": "x", "price": "cheap"}
    rows[4] = {"name": "no sku"}
    rows[20] = {"sku": "s2"}
    rows[21] = {"sku": None}
    result = await create(shop, rows, batch_size=8, on_error="continue", return_ids=True)
    assert (result["processed"], result["inserted"], result["failed"], result["success"]) == (30, 25, 5, False)
    assert [error["row"] for error in result["errors"]] == [3, 4, 13, 20, 21]
    texts = [error["error"] for error in result["errors"]]
    for text, expected in zip(texts, ["Product.price is", "sku is required", "'s13'", "'s2'", "must not"], strict=True):
        assert expected in text
    stored = {row["id"]: row["sku"] for row in await shop.rows(Product)}
    assert len(stored) == 26
    for row, row_id in zip(rows, result["ids"], strict=True):
        assert row_id is None or stored[row_id] == row["sku"]
    assert [index for index, row_id in enumerate(result["ids"]) if row_id is None] == [3, 4, 13, 20, 21]


async def test_nothing_went_wrong_while_going_on(shop: Shop) -> None:
    result = await create(shop, products(5), on_error="continue")
    assert (result["errors"], result["success"], result["failed"]) == ([], True, 0)


@pytest.mark.parametrize("return_ids", [True, False])
async def test_rows_that_are_there_can_be_skipped(shop: Shop, return_ids: bool) -> None:
    await create(shop, products(3))
    rows = [{"sku": "s1", "name": "other"}, {"sku": "x"}, {"sku": "x", "name": "again"}, {"sku": "s2"}, {"sku": "y"}]
    result = await create(shop, rows, conflict_resolution="skip", return_ids=return_ids)
    assert (result["processed"], result["inserted"], result["updated"], result["skipped"]) == (5, 2, 0, 3)
    stored = await shop.rows(Product)
    assert [(row["sku"], row["name"]) for row in stored] == [
        ("s0", "n0"),
        ("s1", "n1"),
        ("s2", "n2"),
        ("x", "unnamed"),
        ("y", "unnamed"),
    ]
    if return_ids:
        by_id = {row["id"]: row["sku"] for row in stored}
        assert [by_id[row_id] for row_id in result["ids"]] == ["s1", "x", "x", "s2", "y"]


@pytest.mark.parametrize("return_ids", [True, False])
async def test_rows_that_are_there_can_be_updated(shop: Shop, return_ids: bool) -> None:
    await create(shop, products(3))
    rows = [{"sku": "s1", "name": "new"}, {"sku": "x", "stock": 1}, {"sku": "x", "name": "again"}, {"sku": "s2"}]
    result = await create(shop, rows, conflict_resolution="upsert", conflict_on=["sku"], return_ids=return_ids)
    assert (result["inserted"], result["updated"], result["skipped"]) == (1, 3, 0)
    stored = await shop.rows(Product)
    assert [(row["sku"], row["name"], row["price"], row["stock"]) for row in stored] == [
        ("s0", "n0", Decimal(0), 0),
        ("s1", "new", Decimal(1), 1),
        ("s2", "n2", Decimal(2), 2),
        ("x", "again", Decimal(0), 1),
    ]
    if return_ids:
        by_id = {row["id"]: row["sku"] for row in stored}
        assert [by_id[row_id] for row_id in result["ids"]] == ["s1", "x", "x", "s2"]


async def test_another_unique_key_is_an_error_even_when_skipping(shop: Shop) -> None:
    await create(shop, [{"email": "a", "handle": "h"}], Account)
    for resolution in ("skip", "upsert"):
        with pytest.raises(UniqueViolationError, match="Row 1: "):
            await create(
                shop,
                [{"email": "b", "number": 1}, {"email": "c", "handle": "h", "number": 2}],
                Account,
                conflict_resolution=resolution,
                conflict_on=["email"],
            )
    assert len(await shop.rows(Account)) == 1


async def test_going_on_while_skipping(shop: Shop) -> None:
    await create(shop, [{"email": "a", "handle": "h"}], Account)
    rows = [{"email": f"e{i}", "handle": "h" if i in (3, 9) else f"h{i}", "number": i + 1} for i in range(12)]
    rows += [{"email": "a", "number": 50}, {"email": "e3", "handle": "fine", "number": 51}]
    result = await create(
        shop, rows, Account, conflict_resolution="skip", conflict_on=["email"], on_error="continue", return_ids=True
    )
    assert (result["inserted"], result["skipped"], result["failed"]) == (10, 1, 3)
    # The second "e3" was to be skipped in favour of the first, which failed.
    assert [error["row"] for error in result["errors"]] == [3, 9, 13]
    assert result["ids"][3] is None
    assert result["ids"][12] == 1


async def test_a_null_is_like_no_other_key(shop: Shop) -> None:
    rows = [{"email": f"e{i}", "handle": None if i % 2 else f"h{i}", "number": i} for i in range(4)]
    for _ in range(2):
        result = await create(
            shop,
            [{**row, "email": f"{row['email']}{_}", "number": row["number"] + 10 * _} for row in rows],
            Account,
            conflict_resolution="skip",
            conflict_on=["handle"],
            return_ids=True,
        )
    assert (result["inserted"], result["skipped"]) == (2, 2)
    assert len(set(result["ids"])) == 4


async def test_the_default_conflict_key(shop: Shop) -> None:
    await create(shop, products(1))
    assert (await create(shop, products(2), conflict_resolution="skip"))["skipped"] == 1
    with pytest.raises(MissingParameterError, match="several unique keys"):
        await create(shop, [{"email": "a"}], Account, conflict_resolution="skip")


async def test_managed_timestamps_are_stripped_with_one_warning(shop: Shop) -> None:
    with pytest.warns(UserWarning, match="AUTO-STRIPPED"):
        await create(shop, [{"sku": "a", "created_at": "2000-01-01"}, {"sku": "b"}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await create(shop, [{"sku": "c", "updated_at": None}])
    assert all(row["created_at"].year > 2000 for row in await shop.rows(Product))


async def test_large_values_and_large_batches(shop: Shop) -> None:
    rows = [{"sku": f"s{i}", "name": "x" * 100_000} for i in range(60)]
    result = await create(shop, rows, return_ids=True)
    assert len(set(result["ids"])) == 60
    result = await create(shop, rows, conflict_resolution="upsert")
    assert result["updated"] == 60
    assert {len(row["name"]) for row in await shop.rows(Product)} == {100_000}


def refusing(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from rows
    raise RuntimeError("the source broke")


async def test_an_iterator_that_breaks_undoes_everything(shop: Shop) -> None:
    with pytest.raises(RuntimeError, match="the source broke"):
        await create(shop, refusing(products(25)), batch_size=10)
    assert await skus(shop) == []
    assert (await create(shop, products(1)))["inserted"] == 1


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({}, MissingParameterError, "'data'"),
        ({"data": {"sku": "a"}}, TypeMismatchError, "Put it into a list"),
        ({"data": [{"sku": "a"}, {"sku": "b", "nmae": 1}]}, UnknownFieldError, "Row 1: .*Did you mean 'name'"),
        ({"data": [{"sku": "a"}], "batch_size": 0}, InputError, "batch_size"),
        ({"data": [{"sku": "a"}], "on_error": "ignore"}, InputError, "on_error='ignore'"),
        ({"data": [{"sku": "a"}], "conflict_resolution": "updat"}, InputError, "conflict_resolution='updat'"),
        ({"data": [{"sku": "a"}], "conflict_on": ["name"]}, InputError, "no unique index"),
        ({"data": [{"sku": "a"}], "tenant_id": "t"}, UnknownParameterError, "no parameter"),
    ],
)
async def test_bad_input_is_refused_when_built_and_when_run(
    sqlite_url: str, inputs: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with open_shop(sqlite_url) as shop:
        node = shop.node(BulkCreateNode, Product)
        if inputs:
            with pytest.raises(error, match=message):
                node.check(inputs, ())
        with pytest.raises(error, match=message):
            await shop.run(BulkCreateNode, Product, **inputs)


async def test_an_iterator_is_left_alone_when_a_workflow_is_built(sqlite_url: str) -> None:
    async with open_shop(sqlite_url) as shop:
        data = iter(products(2))
        shop.node(BulkCreateNode, Product).check({"data": data}, ())
        assert (await create(shop, data))["inserted"] == 2


async def test_none_in_a_required_field_is_refused(shop: Shop) -> None:
    with pytest.raises(NotNullViolationError, match=r"Row 1: Product\.sku must not be None"):
        await create(shop, [{"sku": "a"}, {"sku": None}])
