"""Nodes that commit together, on each database."""

# ruff: noqa: PT012 - that the block as a whole raises is what is tested
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dataflow import BaseDataFlowNode, DataFlow, Field, WorkflowBuilder
from dataflow.errors import (
    DatabaseError,
    InputError,
    MissingTableError,
    NodeNotFoundError,
    TenantError,
    TransientDatabaseError,
    UniqueViolationError,
    VersionConflictError,
)
from dataflow.nodes.interface import RunContext
from dataflow.nodes.registry import process_catalog
from dataflow.runtime import execute


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[DataFlow]:
    # One connection: what a transaction does beside itself would wait for it in vain.
    async with DataFlow(database_url, pool_size=1, max_overflow=0, pool_timeout=5) as made:

        @made.model
        class Product:
            sku: str = Field(unique=True)
            stock: int = 0
            code: str | None = Field(None, unique=True)

        @made.model
        class Position:
            __dataflow__ = {"versioned": True}  # noqa: RUF012

            file: str = Field(unique=True)
            line: int = 0

        yield made


async def skus(db: DataFlow) -> list[str]:
    rows = db.stream("Product", sort="sku", fields=["sku"])
    return [row["sku"] async for row in rows]


def rows(*names: str) -> list[dict[str, Any]]:
    return [{"sku": name, "stock": 1} for name in names]


async def test_all_or_nothing(db: DataFlow) -> None:
    async with db.transaction() as transaction:
        made = await transaction.run("PositionCreateNode", {"file": "a.csv"})
        result = await transaction.run("ProductBulkUpsertNode", {"data": rows("A", "B"), "conflict_on": ["sku"]})
        assert result["inserted"] == 2
        moved = await transaction.run(
            "PositionUpdateNode", {"id": made["id"], "version": made["version"], "fields": {"line": 2}}
        )
        assert (await transaction.run("ProductCountNode"))["count"] == 2
    assert await skus(db) == ["A", "B"]

    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as transaction:
            await transaction.run("ProductBulkUpsertNode", {"data": rows("B", "C"), "conflict_on": ["sku"]})
            await transaction.run("PositionUpdateNode", {"id": made["id"], "version": moved["version"], "line": 3})
            raise ZeroDivisionError
    assert await skus(db) == ["A", "B"]
    async with db.transaction() as transaction:
        assert (await transaction.run("PositionReadNode", {"id": made["id"]}))["line"] == 2


async def test_a_failed_node_takes_it_all_even_where_its_error_is_caught(db: DataFlow) -> None:
    with pytest.raises(DatabaseError, match=r"The transaction is lost.*sku") as caught:
        async with db.transaction() as transaction:
            await transaction.run("ProductCreateNode", {"sku": "A"})
            with pytest.raises(UniqueViolationError):
                await transaction.run("ProductCreateNode", {"sku": "A"})
            with pytest.raises(DatabaseError, match="The transaction is lost"):
                await transaction.run("ProductCreateNode", {"sku": "B"})
    assert isinstance(caught.value.__cause__, UniqueViolationError)
    assert await skus(db) == []


async def test_a_savepoint_undoes_its_own_part(db: DataFlow) -> None:
    async with db.transaction() as transaction:
        await transaction.run("ProductCreateNode", {"sku": "A"})
        with pytest.raises(UniqueViolationError):
            async with transaction.savepoint():
                await transaction.run("ProductCreateNode", {"sku": "B"})
                await transaction.run("ProductCreateNode", {"sku": "A"})
        with pytest.raises(VersionConflictError):
            async with transaction.savepoint():
                made = await transaction.run("PositionCreateNode", {"file": "a.csv"})
                await transaction.run("PositionUpdateNode", {"id": made["id"], "version": 9, "line": 1})
        async with transaction.savepoint():
            await transaction.run("ProductCreateNode", {"sku": "C"})
        await transaction.run("ProductCreateNode", {"sku": "D"})
    assert await skus(db) == ["A", "C", "D"]


async def test_an_error_caught_within_its_savepoint_undoes_that_part(db: DataFlow) -> None:
    async with db.transaction() as transaction:
        await transaction.run("ProductCreateNode", {"sku": "A"})
        with pytest.raises(DatabaseError, match="The transaction is lost"):
            async with transaction.savepoint():
                await transaction.run("ProductCreateNode", {"sku": "B"})
                with pytest.raises(UniqueViolationError):
                    await transaction.run("ProductCreateNode", {"sku": "A"})
        await transaction.run("ProductCreateNode", {"sku": "C"})
    assert await skus(db) == ["A", "C"]


async def test_an_error_that_may_have_ended_it_is_not_undone_by_a_savepoint(db: DataFlow) -> None:
    """MySQL undoes the whole transaction after a deadlock: what followed would commit by itself."""

    class Deadlocked(type(db.nodes["ProductCreateNode"])):  # type: ignore[misc]
        async def perform(self, inputs: Any, context: RunContext) -> dict[str, Any]:
            raise TransientDatabaseError("Deadlock found.")

    db._nodes["Deadlock"] = Deadlocked(db.nodes["ProductCreateNode"].binding)  # type: ignore[attr-defined]
    with pytest.raises(DatabaseError, match="The transaction is lost"):
        async with db.transaction() as transaction:
            await transaction.run("ProductCreateNode", {"sku": "A"})
            with pytest.raises(TransientDatabaseError):
                async with transaction.savepoint():
                    await transaction.run("Deadlock")
    assert await skus(db) == []


async def test_bad_rows_are_left_out_of_a_bulk_within_it(db: DataFlow) -> None:
    async with db.transaction() as transaction:
        await transaction.run("ProductCreateNode", {"sku": "A", "code": "1"})
        result = await transaction.run(
            "ProductBulkCreateNode",
            {
                "data": [*rows("A", "B"), {"sku": "C", "stock": "many"}, {"sku": "E", "code": "1"}, *rows("D")],
                "conflict_resolution": "upsert",
                "conflict_on": ["sku"],
                "on_error": "continue",
            },
        )
        assert [error["row"] for error in result["errors"]] == [2, 3]
        await transaction.run("PositionCreateNode", {"file": "a.csv"})
    assert await skus(db) == ["A", "B", "D"]


async def test_one_who_is_cancelled_leaves_nothing_and_the_connection_serves_again(db: DataFlow) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with db.transaction() as transaction:
            await transaction.run("ProductCreateNode", {"sku": "A"})
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await skus(db) == []


async def test_several_tasks_take_turns(db: DataFlow) -> None:
    async with db.transaction() as transaction:
        names = [f"P{number:02}" for number in range(20)]
        await asyncio.gather(*(transaction.run("ProductCreateNode", {"sku": name}) for name in names))
    assert await skus(db) == names


async def test_only_nodes_of_models_and_only_within_its_block(db: DataFlow) -> None:
    class Mine(BaseDataFlowNode):
        async def execute(self, input_data: dict[str, Any]) -> dict[str, Any]:
            return {}

    db.register_node(Mine)
    async with db.transaction() as transaction:
        with pytest.raises(NodeNotFoundError, match="Did you mean 'ProductCreateNode'"):
            await transaction.run("ProductCreatNode")
        with pytest.raises(InputError, match="Mine is not a node of a model"):
            await transaction.run("Mine")
        with pytest.raises(InputError, match="'retry' has no meaning in a transaction"):
            await transaction.run("ProductCreateNode", {"sku": "A", "retry": 3})
        # Nothing was asked of the database until now, so nothing is lost.
        await transaction.run("ProductCreateNode", {"sku": "A"})
    with pytest.raises(DatabaseError, match="The transaction is over"):
        await transaction.run("ProductCreateNode", {"sku": "B"})
    with pytest.raises(DatabaseError, match="entered once"):
        async with transaction:
            pass
    assert await skus(db) == ["A"]


async def test_a_missing_table_is_an_error_of_the_node_that_needs_it(database_url: str) -> None:
    class Product:
        sku: str

    class Missing:
        name: str

    async with DataFlow(database_url) as first:
        first.model(Product)
        await first.create_tables_async()
    async with DataFlow(database_url, auto_migrate=False) as db:
        db.model(Product)
        db.model(Missing)
        async with db.transaction() as transaction:
            await transaction.run("ProductCreateNode", {"sku": "A"})
            with pytest.raises(MissingTableError):
                async with transaction.savepoint():
                    await transaction.run("MissingCreateNode", {"name": "x"})
        assert await skus(db) == ["A"]


async def test_it_is_about_the_tenant_of_the_run(ordinary_url: str) -> None:
    async with DataFlow(ordinary_url, multi_tenant=True) as db:

        @db.model
        class Secret:
            __dataflow__ = {"multi_tenant": True, "row_level_security": True}  # noqa: RUF012

            text: str

        @db.actor
        async def keep(text: str, other: str | None = None) -> int:
            async with db.transaction(tenant_id=other) as transaction:
                await transaction.run("SecretCreateNode", {"text": text})
                return int((await transaction.run("SecretCountNode"))["count"])

        async def run(tenant: str, **inputs: Any) -> Any:
            workflow = WorkflowBuilder()
            workflow.add_node("keep", "keep", inputs)
            return await execute(
                workflow.build(), catalog=process_catalog, run_id="run", tenant_id=tenant, timeout=None
            )

        assert await run("acme", text="one") == {"keep": {"result": 1}}
        assert await run("acme", text="two") == {"keep": {"result": 2}}
        assert await run("other", text="three") == {"keep": {"result": 1}}
        with pytest.raises(Exception, match="another tenant") as caught:
            await run("acme", text="four", other="other")
        assert isinstance(caught.value.__cause__, TenantError)
        async with db.transaction(tenant_id="acme") as transaction:
            texts = [row["text"] for row in (await transaction.run("SecretListNode", {"sort": "id"}))["records"]]
        assert texts == ["one", "two"]
        with pytest.raises(TenantError):
            async with db.transaction() as transaction:
                await transaction.run("SecretListNode")
