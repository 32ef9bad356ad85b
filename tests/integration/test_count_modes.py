"""Count by cap and by the planner, on every database."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from dataflow.databases.interface import Dialect
from dataflow.errors import InputError, TenantError
from tests.integration.bench import Bench, open_bench
from tests.integration.declared import Secret, Walled


class Item:
    __indexes__ = ({"fields": ["age"]},)

    name: str
    age: int
    rank: int | None = None


@pytest.fixture
async def bench(ordinary_url: str) -> AsyncIterator[Bench]:
    async with open_bench(ordinary_url, Item, Secret, Walled) as bench:
        yield bench


async def _analyze(bench: Bench, table: str) -> None:
    if bench.database.dialect is not Dialect.SQLITE:
        word = "ANALYZE" if bench.database.dialect is Dialect.POSTGRESQL else "ANALYZE TABLE"
        await bench.database.fetch_all(f"{word} {table}")


@pytest.mark.parametrize(
    ("cap", "count", "exact"), [(0, 0, False), (6, 6, False), (7, 7, True), (8, 7, True), (2**63 - 2, 7, True)]
)
async def test_a_cap(bench: Bench, cap: int, count: int, exact: bool) -> None:
    await bench.run("ItemBulkCreateNode", data=[{"name": "a", "age": 1}] * 7 + [{"name": "b", "age": 1}] * 3)
    result = await bench.run("ItemCountNode", filter={"name": "a"}, mode="capped", cap=cap)
    assert result == {"count": count, "exact": exact}


async def test_the_usual_cap(bench: Bench) -> None:
    await bench.run("ItemBulkCreateNode", data=[{"name": "a", "age": age} for age in range(1001)])
    assert await bench.run("ItemCountNode", mode="capped") == {"count": 1000, "exact": False}
    assert await bench.run("ItemCountNode", mode="capped", filter={"age": {"$ne": 0}}) == {"count": 1000, "exact": True}
    assert await bench.run("ItemCountNode", mode="exact") == {"count": 1001}


async def test_estimates(bench: Bench) -> None:
    exact = bench.database.dialect is Dialect.SQLITE
    await bench.run("ItemBulkCreateNode", data=[{"name": "a", "age": age} for age in range(4000)])
    await _analyze(bench, "items")
    for conditions, count in [({}, 4000), ({"age": {"$lt": 1000}}, 1000), ({"age": {"$between": [100, 199]}}, 100)]:
        result = await bench.run("ItemCountNode", mode="estimated", filter=conditions)
        assert result["exact"] is exact
        assert count * 0.8 <= result["count"] <= count * 1.2


async def test_an_estimate_of_nothing(bench: Bench) -> None:
    result = await bench.run("ItemCountNode", mode="estimated", filter={"age": {"$in": []}})
    assert result["count"] == 0


async def test_an_estimate_is_of_the_tenants_own_rows(bench: Bench) -> None:
    for model in ("Secret", "Walled"):
        for tenant, count in (("big", 3000), ("small", 30)):
            await bench.run(f"{model}BulkCreateNode", data=[{"name": "x"}] * count, tenant_id=tenant)
    await bench.run("SecretBulkDeleteNode", filter={"id": {"$lt": 1501}}, tenant_id="big")
    await _analyze(bench, "secrets")
    await _analyze(bench, "walleds")
    for model in ("Secret", "Walled"):
        small = await bench.run(f"{model}CountNode", mode="estimated", tenant_id="small")
        assert 10 <= small["count"] <= 90
        capped = await bench.run(f"{model}CountNode", mode="capped", cap=50, tenant_id="small")
        assert capped == {"count": 30, "exact": True}
        with pytest.raises(TenantError):
            await bench.run(f"{model}CountNode", mode="estimated")
        with pytest.raises(TenantError):
            await bench.run(f"{model}CountNode", mode="capped")
    assert await bench.run("SecretCountNode", mode="capped", cap=5000, tenant_id="big") == {
        "count": 1500,
        "exact": True,
    }
    seen = await bench.run("SecretCountNode", mode="estimated", include_deleted=True, tenant_id="big")
    assert seen["count"] > 2000


async def test_warm_modes_compile_nothing(bench: Bench) -> None:
    plans = bench.nodes["ItemCountNode"].binding.rows.plans  # type: ignore[attr-defined]
    for age in (1, 2):
        for mode in ("exact", "capped", "estimated"):
            await bench.run("ItemCountNode", mode=mode, filter={"age": age})
        if age == 1:
            known = len(plans)
    assert len(plans) == known


@pytest.mark.parametrize(
    "inputs",
    [
        {"mode": "estimate"},
        {"mode": None},
        {"mode": ["exact"]},
        {"mode": "capped", "cap": -1},
        {"mode": "capped", "cap": "5"},
        {"mode": "capped", "cap": True},
    ],
)
async def test_what_count_refuses(bench: Bench, inputs: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        await bench.run("ItemCountNode", **inputs)
    with pytest.raises(InputError):
        bench.check("ItemCountNode", **inputs)


@pytest.mark.parametrize("mode", ["exact", "estimated"])
async def test_a_cap_belongs_to_its_mode(bench: Bench, mode: str) -> None:
    with pytest.raises(InputError, match="belongs to mode='capped'"):
        await bench.run("ItemCountNode", mode=mode, cap=5)
