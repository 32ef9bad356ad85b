"""Streams hold one page in memory, and feed the bulk nodes."""

import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dataflow import AsyncLocalRuntime, DataFlow, LocalRuntime, WorkflowBuilder
from dataflow.errors import InputError, NodeNotFoundError, TenantError, UnknownFieldError


def declare(db: DataFlow) -> None:
    @db.model
    class Item:
        name: str
        rank: int | None = None

    @db.model
    class Copy:
        name: str
        rank: int | None = None

    @db.model
    class Secret:
        __dataflow__ = {"multi_tenant": True, "soft_delete": True}  # noqa: RUF012
        name: str


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[DataFlow]:
    async with DataFlow(database_url, name="streams") as db:
        declare(db)
        yield db


async def run(node_type: str, tenant: str | None = None, **params: Any) -> dict[str, Any]:
    workflow = WorkflowBuilder()
    workflow.add_node(node_type, "node", {**params, "database": "streams"})
    results, _ = await AsyncLocalRuntime().execute_workflow_async(workflow, tenant_id=tenant)
    found: dict[str, Any] = results["node"]
    return found


async def add_items(count: int) -> None:
    await run("ItemBulkCreateNode", data=({"name": f"n{row}", "rank": row % 10 or None} for row in range(count)))


@pytest.mark.parametrize("count", [0, 1, 6, 7])
async def test_a_stream_is_the_whole_list(db: DataFlow, count: int) -> None:
    await add_items(count)
    for sort in (None, "name", "-rank"):
        whole = (await run("ItemListNode", sort=sort))["records"]
        for page_size in (1, 3, 7, 100):
            assert [row async for row in db.stream("Item", sort=sort, page_size=page_size)] == whole


async def test_it_takes_what_a_list_takes(db: DataFlow) -> None:
    await add_items(20)
    conditions = {"rank": {"$gte": 8}}
    names = [row async for row in db.stream("ItemListNode", filter=conditions, sort="id", fields=["name"], page_size=2)]
    assert names == [{"name": "n8"}, {"name": "n9"}, {"name": "n18"}, {"name": "n19"}]


async def test_it_sees_one_tenants_rows(db: DataFlow) -> None:
    for tenant in ("a", "b"):
        for name in ("x", "y", "z"):
            await run("SecretCreateNode", tenant, name=f"{name} of {tenant}")
    await run("SecretDeleteNode", "a", id=1)
    seen = [row["name"] async for row in db.stream("Secret", tenant_id="a", sort="name", page_size=1)]
    assert seen == ["y of a", "z of a"]
    both = [row["name"] async for row in db.stream("Secret", tenant_id="a", include_deleted=True, page_size=2)]
    assert both == ["z of a", "y of a", "x of a"]
    with pytest.raises(TenantError):
        await anext(db.stream("Secret"))


async def test_no_connection_is_held_between_pages(db: DataFlow) -> None:
    await add_items(10)
    stream = db.stream("Item", page_size=2)
    async for row in stream:
        assert db.pool_metrics()["checked_out"] == 0
        await run("ItemDeleteNode", id=row["id"])
        await db.database.close()
    assert await run("ItemCountNode") == {"count": 0}


async def test_it_feeds_a_bulk_node(db: DataFlow) -> None:
    await add_items(500)
    await run("CopyCreateNode", id=7, name="old")
    rows = db.stream("Item", fields=["id", "name", "rank"], page_size=64)
    result = await run("CopyBulkUpsertNode", data=rows, batch_size=50)
    assert (result["processed"], result["inserted"], result["updated"]) == (500, 499, 1)
    copies = [row async for row in db.stream("Copy", fields=["id", "name", "rank"])]
    assert copies == [row async for row in db.stream("Item", fields=["id", "name", "rank"])]


def test_it_feeds_a_workflow_of_synchronous_code(sqlite_url: str) -> None:
    with DataFlow(sqlite_url, name="streams") as db:
        declare(db)
        workflow = WorkflowBuilder()
        workflow.add_node("ItemBulkCreateNode", "create", {"data": [{"name": str(row)} for row in range(9)]})
        LocalRuntime().execute(workflow)
        copy = WorkflowBuilder()
        copy.add_node("CopyBulkCreateNode", "copy", {"data": db.stream("Item", fields=["name"], page_size=4)})
        results, _ = LocalRuntime().execute(copy)
        assert results["copy"]["inserted"] == 9


async def test_two_hundred_thousand_rows_take_the_memory_of_a_page(sqlite_url: str) -> None:
    async with DataFlow(sqlite_url, name="streams") as db:
        declare(db)
        await add_items(200_000)
        peaks = []
        for page_size, rows in ((2_000, 2_000), (2_000, 200_000)):
            stream, seen = db.stream("Item", page_size=page_size), 0
            tracemalloc.start()
            try:
                async for row in stream:
                    seen += 1
                    assert len(row["name"]) < 10
                    if seen == rows:
                        break
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
                await stream.aclose()
            assert seen == rows
        first, whole = peaks
        # While a page is read the one before is still there.
        assert whole < 3 * first
        assert whole < 10_000_000


@pytest.mark.parametrize(
    ("name", "params", "error"),
    [
        ("Itm", {}, NodeNotFoundError),
        ("ItmListNode", {}, NodeNotFoundError),
        ("ItemCountNode", {}, NodeNotFoundError),
        ("Item", {"page_size": 0}, InputError),
        ("Item", {"page_size": 2.5}, InputError),
        ("Item", {"fields": ["nmae"]}, UnknownFieldError),
        ("Item", {"filter": {"nmae": 1}}, UnknownFieldError),
        ("Item", {"sort": "nmae"}, UnknownFieldError),
        ("Item", {"tenant_id": 5}, InputError),
        ("Item", {"include_deleted": 1}, InputError),
    ],
)
def test_what_is_wrong_is_said_at_once(sqlite_url: str, name: str, params: dict[str, Any], error: type) -> None:
    with DataFlow(sqlite_url) as db:
        declare(db)
        with pytest.raises(error):
            db.stream(name, **params)
