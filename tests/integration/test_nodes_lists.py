"""List, Count and Aggregate mean the same on every database."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from dataflow.errors import InputError, TypeMismatchError, UnknownFieldError, UnknownOperatorError
from dataflow.models import Field
from tests.integration.bench import Bench, open_bench


class Item:
    name: str
    age: int
    rank: int | None = None
    price: Decimal | None = Field(None, precision=20, scale=2)
    weight: float | None = None
    waited: timedelta | None = None
    data: dict | None = None


ROWS: list[dict[str, Any]] = [
    {"name": "b", "age": 1, "rank": 3, "price": "9.50", "weight": 0.5, "waited": timedelta(seconds=1)},
    {"name": "B", "age": 2, "rank": None, "price": "10.00", "weight": None},
    {"name": "a", "age": 3, "rank": 1, "price": None, "weight": 2.5, "waited": timedelta(seconds=4)},
    {"name": "é", "age": 4, "rank": 3, "price": "-1.25", "data": {"a": 1}},
    {"name": "a ", "age": 5, "rank": 2, "price": "100.00"},
    {"name": "🎈", "age": 6, "rank": None, "price": "9.50"},
]


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    async with open_bench(database_url, Item) as bench:
        for row in ROWS:
            await bench.run("ItemCreateNode", **row)
        yield bench


async def test_list_pages(bench: Bench) -> None:
    listed = await bench.run("ItemListNode")
    assert [record["id"] for record in listed["records"]] == [6, 5, 4, 3, 2, 1]
    assert {key: value for key, value in listed.items() if key != "records"} == {
        "count": 6,
        "limit": 100,
        "offset": 0,
        "has_more": False,
        "next_cursor": None,
    }
    page = await bench.run("ItemListNode", limit=2, offset=1, sort="id")
    assert [record["id"] for record in page["records"]] == [2, 3]
    assert (page["has_more"], page["count"], page["limit"], page["offset"]) == (True, 2, 2, 1)
    assert "total" not in page
    last = await bench.run("ItemListNode", limit=2, offset=4)
    assert (last["has_more"], last["count"]) == (False, 2)
    nothing = await bench.run("ItemListNode", limit=0)
    assert (nothing["records"], nothing["has_more"]) == ([], True)


@pytest.mark.parametrize(("limit", "offset", "total"), [(2, 0, 4), (10, 0, 4), (2, 2, 4), (2, 9, 4), (0, 0, 4)])
async def test_total(bench: Bench, limit: int, offset: int, total: int) -> None:
    listed = await bench.run(
        "ItemListNode", filter={"rank": {"$ne": None}}, limit=limit, offset=offset, with_total=True
    )
    assert listed["total"] == total


async def test_counts(bench: Bench) -> None:
    assert await bench.run("ItemCountNode") == {"count": 6}
    assert await bench.run("ItemCountNode", filter={"rank": 3}, mode="exact") == {"count": 2}
    assert await bench.run("ItemListNode", filter={"rank": 3}, count_only=True, limit=1) == {"count": 2}


async def test_projection(bench: Bench) -> None:
    listed = await bench.run("ItemListNode", fields=["price", "name"], filter={"id": 1})
    assert listed["records"] == [{"price": Decimal("9.50"), "name": "b"}]
    with pytest.raises(UnknownFieldError, match="Did you mean 'name'"):
        await bench.run("ItemListNode", fields=["nmae"])


@pytest.mark.parametrize(
    ("sort", "ids"),
    [
        ("name", [2, 3, 5, 1, 4, 6]),
        ("-name", [6, 4, 1, 5, 3, 2]),
        ("rank", [3, 5, 1, 4, 2, 6]),
        ("-rank", [4, 1, 5, 3, 6, 2]),
        (["-rank", "id"], [1, 4, 5, 3, 2, 6]),
        ("price", [4, 1, 6, 2, 5, 3]),
        ([{"price": -1}], [5, 2, 6, 1, 4, 3]),
        ([{"field": "rank", "order": "asc"}, {"age": -1}], [3, 5, 4, 1, 6, 2]),
    ],
)
async def test_sorts(bench: Bench, sort: Any, ids: list[int]) -> None:
    assert await bench.ids("Item", {}, sort=sort) == ids
    listed = await bench.run("ItemListNode", order_by=sort)
    assert [record["id"] for record in listed["records"]] == ids


@pytest.mark.parametrize(
    ("conditions", "ids"),
    [
        ({"name": "b"}, [1]),
        ({"name": "a"}, [3]),
        ({"name": {"$gt": "a"}}, [1, 4, 5, 6]),
        ({"name": {"$in": ["b", "é", "zz"]}}, [1, 4]),
        ({"name": {"$like": "a%"}}, [3, 5]),
        ({"name": {"$like": "_"}}, [1, 2, 3, 4, 6]),
        ({"name": {"$like": "B"}}, [2]),
        ({"name": {"$ilike": "B"}}, [1, 2]),
        ({"name": {"$ilike": "É"}}, [4]),
        ({"name": {"$startswith": "a"}}, [3, 5]),
        ({"name": {"$endswith": " "}}, [5]),
        ({"name": {"$contains": "%"}}, []),
        ({"rank": None}, [2, 6]),
        ({"rank": {"$ne": 3}}, [2, 3, 5, 6]),
        ({"rank": {"$nin": [1, 3]}}, [2, 5, 6]),
        ({"rank": {"$in": [1, None]}}, [2, 3, 6]),
        ({"rank": {"$not": {"$gt": 1}}}, [2, 3, 6]),
        ({"$nor": [{"rank": {"$gt": 1}}]}, [2, 3, 6]),
        ({"$not": {"rank": {"$in": [3]}}}, [2, 3, 5, 6]),
        ({"$not": {"rank": {"$nin": [3]}}}, [1, 4]),
        ({"price": {"$gt": "9.5"}}, [2, 5]),
        ({"price": {"$gte": Decimal("9.50"), "$lt": 100}}, [1, 2, 6]),
        ({"price": {"$between": [-2, 10]}}, [1, 2, 4, 6]),
        ({"price": "9.5"}, [1, 6]),
        ({"price": {"$in": ["9.5", 100]}}, [1, 5, 6]),
        ({"price": {"$not": None}}, [1, 2, 4, 5, 6]),
        ({"data": {"$exists": True}}, [4]),
        ({"waited": {"$gt": timedelta(seconds=2)}}, [3]),
        ({"$or": [{"age": 1}, {"age": {"$gte": 5}, "rank": 2}]}, [1, 5]),
        ({"$and": [{"age": {"$gt": 1}}, {"age": {"$lt": 3}}]}, [2]),
        ({"age": {"$in": []}}, []),
        ({"age": {"$nin": []}}, [1, 2, 3, 4, 5, 6]),
        ({"age": {"$in": list(range(3, 2000))}}, [3, 4, 5, 6]),
        ({"age": {"$nin": list(range(3, 2000))}}, [1, 2]),
    ],
)
async def test_filters(bench: Bench, conditions: dict[str, Any], ids: list[int]) -> None:
    assert await bench.ids("Item", conditions) == ids
    assert await bench.run("ItemCountNode", filter=conditions) == {"count": len(ids)}


@pytest.mark.parametrize(
    "inputs",
    [
        {"limit": -1},
        {"limit": "5"},
        {"limit": None},
        {"limit": True},
        {"offset": -1},
        {"filter": {"nmae": 1}},
        {"filter": None},
        {"sort": "nmae"},
        {"sort": "data"},
        {"fields": []},
        {"fields": "name"},
        {"with_total": 1},
        {"cursor": "abc"},
        {"include_deleted": 1},
        {"enable_cache": True},
    ],
)
async def test_list_refuses(bench: Bench, inputs: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        await bench.run("ItemListNode", **inputs)
    with pytest.raises(InputError):
        bench.check("ItemListNode", **inputs)


async def test_warm_calls_compile_nothing(bench: Bench) -> None:
    plans = bench.nodes["ItemListNode"].binding.rows.plans  # type: ignore[attr-defined]
    await bench.ids("Item", {"age": {"$in": [1, 2, 3]}, "name": {"$contains": "a"}}, limit=3)
    known = len(plans)
    await bench.ids("Item", {"age": {"$in": [7, 8, 9, 7]}, "name": {"$contains": "zzz"}}, limit=9, offset=4)
    assert len(plans) == known


# Aggregates


async def test_aggregates_without_groups(bench: Bench) -> None:
    result = await bench.run(
        "ItemAggregateNode",
        aggregate={
            "rows": {"$count": "*"},
            "ranked": {"$count": "rank"},
            "ranks": {"$count_distinct": "rank"},
            "ages": {"$sum": "age"},
            "mean_age": {"$avg": "age"},
            "mean_rank": {"$avg": "rank"},
            "money": {"$sum": "price"},
            "mean_price": {"$avg": "price"},
            "cheapest": {"$min": "price"},
            "dearest": {"$max": "price"},
            "first": {"$min": "name"},
            "weights": {"$sum": "weight"},
            "mean_weight": {"$avg": "weight"},
            "waits": {"$sum": "waited"},
            "mean_wait": {"$avg": "waited"},
            "latest": {"$max": "created_at"},
        },
    )
    assert result["count"] == 1
    (record,) = result["records"]
    newest = (await bench.run("ItemReadNode", id=6))["created_at"]
    wanted = {
        "rows": 6,
        "ranked": 4,
        "ranks": 3,
        "ages": 21,
        "mean_age": 3.5,
        "mean_rank": 2.25,
        "money": Decimal("127.75"),
        "mean_price": Decimal("25.55"),
        "cheapest": Decimal("-1.25"),
        "dearest": Decimal("100.00"),
        "first": "B",
        "weights": 3.0,
        "mean_weight": 1.5,
        "waits": timedelta(seconds=5),
        "mean_wait": timedelta(seconds=2.5),
        "latest": newest,
    }
    assert record == wanted
    assert {name: type(value) for name, value in record.items()} == {
        name: type(value) for name, value in wanted.items()
    }
    assert str(record["mean_price"]) == "25.55"


async def test_aggregates_by_group(bench: Bench) -> None:
    result = await bench.run(
        "ItemAggregateNode", group_by="rank", aggregate={"n": {"$count": "*"}, "total": {"$sum": "price"}}
    )
    assert result["records"] == [
        {"rank": 1, "n": 1, "total": None},
        {"rank": 2, "n": 1, "total": Decimal("100.00")},
        {"rank": 3, "n": 2, "total": Decimal("8.25")},
        {"rank": None, "n": 2, "total": Decimal("19.50")},
    ]


@pytest.mark.parametrize(
    ("having", "ranks"),
    [
        ({"total": {"$gt": 19}}, [2, None]),
        ({"total": "8.25"}, [3]),
        ({"total": None}, [1]),
        ({"n": 2, "rank": {"$ne": None}}, [3]),
        ({"$or": [{"n": {"$lt": 2}}, {"total": {"$in": ["19.5"]}}]}, [1, 2, None]),
        ({"mean": {"$gte": 3}}, [1, 2, None]),
    ],
)
async def test_having(bench: Bench, having: dict[str, Any], ranks: list[Any]) -> None:
    result = await bench.run(
        "ItemAggregateNode",
        group_by=["rank"],
        aggregate={"n": {"$count": "*"}, "total": {"$sum": "price"}, "mean": {"$avg": "age"}},
        having=having,
    )
    assert [record["rank"] for record in result["records"]] == ranks


async def test_aggregates_sorted_and_limited(bench: Bench) -> None:
    inputs: dict[str, Any] = {"group_by": ["rank"], "aggregate": {"n": {"$count": "*"}, "total": {"$sum": "price"}}}
    result = await bench.run("ItemAggregateNode", **inputs, sort="-total", limit=2)
    assert [record["rank"] for record in result["records"]] == [2, None]
    result = await bench.run("ItemAggregateNode", **inputs, sort=["-n", "-rank"], filter={"age": {"$gt": 1}})
    assert [record["rank"] for record in result["records"]] == [None, 3, 2, 1]
    only_groups = await bench.run("ItemAggregateNode", group_by=["rank"], limit=1)
    assert only_groups == {"records": [{"rank": 1}], "count": 1}


async def test_aggregates_over_no_rows(bench: Bench) -> None:
    asked = {"n": {"$count": "*"}, "total": {"$sum": "price"}, "mean": {"$avg": "age"}, "waits": {"$avg": "waited"}}
    result = await bench.run("ItemAggregateNode", aggregate=asked, filter={"age": {"$gt": 100}})
    assert result["records"] == [{"n": 0, "total": None, "mean": None, "waits": None}]
    result = await bench.run("ItemAggregateNode", aggregate=asked, group_by="name", filter={"age": {"$gt": 100}})
    assert result == {"records": [], "count": 0}


async def test_decimal_means_are_rounded_half_away_from_zero(bench: Bench) -> None:
    for sign in ("", "-"):
        for cents in ("0.01", "0.02"):
            await bench.run("ItemCreateNode", name=f"half{sign}", age=1, price=f"{sign}{cents}")
    result = await bench.run(
        "ItemAggregateNode",
        group_by="name",
        aggregate={"mean": {"$avg": "price"}},
        filter={"name": {"$startswith": "half"}},
    )
    assert [str(record["mean"]) for record in result["records"]] == ["0.02", "-0.02"]


async def test_aliases_are_only_names(bench: Bench) -> None:
    alias = 'x" FROM items; --`é'
    result = await bench.run("ItemAggregateNode", aggregate={alias: {"$count": "*"}}, sort=alias, having={alias: 6})
    assert result["records"] == [{alias: 6}]


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({}, InputError),
        ({"aggregate": {"n": {"$cuont": "*"}}}, UnknownOperatorError),
        ({"aggregate": {"n": {"$sum": "nmae"}}}, UnknownFieldError),
        ({"group_by": "nmae"}, UnknownFieldError),
        ({"group_by": [1]}, InputError),
        ({"group_by": "name", "having": {"x": 1}}, UnknownFieldError),
        ({"group_by": "name", "sort": "x"}, UnknownFieldError),
        ({"group_by": "name", "limit": -1}, InputError),
        ({"group_by": "name", "having": {"name": 1}}, TypeMismatchError),
        ({"aggregate": []}, TypeMismatchError),
    ],
)
async def test_aggregate_refuses(bench: Bench, inputs: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await bench.run("ItemAggregateNode", **inputs)
    with pytest.raises(InputError):
        bench.check("ItemAggregateNode", **inputs)
