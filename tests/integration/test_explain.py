"""An explanation tells what a node would do on every database, and changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dataflow import BaseDataFlowNode, DataFlow
from dataflow.databases.interface import Dialect
from dataflow.errors import (
    ConfirmationRequiredError,
    InputError,
    MissingTableError,
    NodeNotFoundError,
    TenantError,
    UnknownParameterError,
)
from dataflow.models import Field
from dataflow.nodes.generated.explain import Explanation, explain_node
from tests.integration.bench import Bench, open_bench
from tests.integration.declared import Walled


class Item:
    sku: str = Field(unique=True, max_length=50)
    age: int
    rank: int | None = None


class Versioned:
    __dataflow__ = {"versioned": True, "soft_delete": True}  # noqa: RUF012

    name: str


COUNT = 5


@pytest.fixture
async def bench(ordinary_url: str) -> AsyncIterator[Bench]:
    async with open_bench(ordinary_url, Item, Versioned, Walled) as bench:
        await bench.run("ItemBulkCreateNode", data=[{"sku": f"s{number}", "age": number} for number in range(COUNT)])
        await bench.run("VersionedCreateNode", name="a")
        for tenant in ("a", "b"):
            await bench.run("WalledCreateNode", name=tenant, tenant_id=tenant)
        yield bench


async def explain(bench: Bench, node_type: str, tenant: str | None = None, **params: Any) -> Explanation:
    return await explain_node(bench.schema, bench.nodes, node_type, params, tenant)


async def everything(bench: Bench) -> list[Any]:
    found: list[Any] = [(await bench.run("ItemListNode"))["records"]]
    found.append((await bench.run("VersionedListNode", include_deleted=True))["records"])
    found.extend([(await bench.run("WalledListNode", tenant_id=tenant))["records"] for tenant in ("a", "b")])
    return found


ROWS = [{"sku": "s1", "age": 7}, {"sku": "new", "age": 8}]
WRITES: list[tuple[str, dict[str, Any]]] = [
    ("ItemCreateNode", {"sku": "n", "age": 1}),
    ("ItemUpdateNode", {"id": 1, "age": {"$inc": 1}}),
    ("ItemUpdateNode", {"filter": {"sku": "s1"}, "fields": {"age": 9}}),
    ("ItemDeleteNode", {"id": 1}),
    ("ItemDeleteNode", {"filter": {"sku": "s1"}}),
    ("ItemUpsertNode", {"where": {"sku": "s1"}, "create": {"age": 1}, "update": {"age": 2}}),
    ("ItemUpsertNode", {"where": {"sku": "zz"}, "create": {"age": 1}, "update": {"age": 2}}),
    ("ItemBulkCreateNode", {"data": [{"sku": "n", "age": 1}, {"sku": "m", "age": 1}]}),
    ("ItemBulkCreateNode", {"data": [{"id": 77, "sku": "n", "age": 1}], "return_ids": True}),
    ("ItemBulkCreateNode", {"data": ROWS, "conflict_resolution": "skip", "conflict_on": ["sku"]}),
    ("ItemBulkCreateNode", {"data": ROWS, "on_error": "continue"}),
    ("ItemBulkUpdateNode", {"filter": {"age": {"$gt": 1}}, "fields": {"rank": 3}}),
    ("ItemBulkUpdateNode", {"filter": {}, "fields": {"rank": 3}, "confirmed": True, "limit": 2}),
    ("ItemBulkUpdateNode", {"data": [{"id": 1, "age": 4}, {"id": 2, "age": 5}]}),
    ("ItemBulkDeleteNode", {"filter": {"age": {"$gt": 1}}}),
    ("ItemBulkDeleteNode", {"ids": [1, 2]}),
    ("ItemBulkUpsertNode", {"data": ROWS, "conflict_on": ["sku"]}),
    ("ItemBulkUpsertNode", {"data": ROWS, "conflict_on": ["sku"], "return_ids": True}),
    ("VersionedUpdateNode", {"id": 1, "name": "b", "version": 1}),
    ("VersionedDeleteNode", {"id": 1}),
]


async def test_writes_are_explained_and_never_run(bench: Bench) -> None:
    before = await everything(bench)
    for node_type, params in WRITES:
        explanation = await explain(bench, node_type, **params)
        *reads, write = explanation.statements
        assert not write.ran, (node_type, params)
        # SQLite has nothing to say of an INSERT of values.
        assert write.plan or write.sql.startswith("COPY ") or bench.database.dialect is Dialect.SQLITE
        assert all(statement.ran for statement in reads)
        assert await everything(bench) == before, (node_type, params)
    assert bench.database.pool_metrics()["checked_out"] == 0
    # The database counts on from where it was, and a writer finds no lock in its way.
    created = await asyncio.wait_for(bench.run("ItemCreateNode", sku="n", age=1), 5)
    assert created["id"] == COUNT + 1


async def test_the_values_are_those_that_are_sent(bench: Bench) -> None:
    (statement,) = (await explain(bench, "ItemListNode", filter={"sku": "s1"}, limit=3, offset=1)).statements
    assert statement.ran
    # MySQL's offset comes before its limit.
    assert statement.binds in (("s1", 4, 1), ("s1", 1, 4))
    assert statement.rows == 1
    assert statement.sql.lstrip().startswith("SELECT")
    (many,) = (await explain(bench, "ItemBulkCreateNode", data=[{"sku": "n", "age": 4}] * 3)).statements
    assert many.sql.startswith("COPY items (sku, age")
    assert (many.rows, many.binds[:2], many.plan) == (3, ("n", 4), ())


async def test_the_plan_is_the_databases_own(bench: Bench) -> None:
    (statement,) = (await explain(bench, "ItemListNode", filter={"id": {"$gt": 3}}, limit=1)).statements
    text = "\n".join(statement.plan)
    match bench.database.dialect:
        case Dialect.POSTGRESQL:
            assert "items" in text
            assert "cost=" in text
        case Dialect.MYSQL:
            assert "table=items, type=range" in text
            assert "key=PRIMARY" in text
        case Dialect.SQLITE:
            assert "SEARCH items USING INTEGER PRIMARY KEY (rowid>?)" in text


async def test_a_write_has_a_plan(bench: Bench) -> None:
    explanation = await explain(bench, "ItemBulkUpdateNode", filter={"id": {"$lt": 3}}, fields={"age": 1})
    write = explanation.statements[-1]
    assert "UPDATE" in write.sql
    assert any("items" in line for line in write.plan)


async def test_reads_are_run_so_that_a_node_goes_on(bench: Bench) -> None:
    listed = await explain(bench, "ItemListNode", limit=2, with_total=True)
    assert [statement.ran for statement in listed.statements] == [True, True]
    assert "count(*)" in listed.statements[1].sql
    updated = await explain(bench, "ItemUpdateNode", filter={"sku": "s1"}, fields={"age": 9})
    assert [statement.ran for statement in updated.statements] == [True, False]
    assert 2 in updated.statements[1].binds


async def test_a_row_that_is_not_there(bench: Bench) -> None:
    (statement,) = (await explain(bench, "ItemReadNode", id=99)).statements
    assert 99 in statement.binds


async def test_a_page_behind_a_cursor(bench: Bench) -> None:
    cursor = (await bench.run("ItemListNode", limit=2))["next_cursor"]
    (statement,) = (await explain(bench, "ItemListNode", limit=2, cursor=cursor)).statements
    assert statement.binds == (COUNT - 1, 3)


async def test_str_shows_everything(bench: Bench) -> None:
    text = str(await explain(bench, "ItemListNode", filter={"sku": "x" * 50, "age": {"$lt": 12345}}, limit=1))
    assert text.startswith("ItemListNode\n\nStatement 1 (run)\n")
    assert "12345" in text
    assert f"'{'x' * 50}'" in text
    assert "  Plan\n" in text
    longer = str(await explain(bench, "ItemListNode", filter={"sku": {"$like": "%" + "y" * 500}}))
    assert "y…" in longer
    assert max(len(line) for line in longer.splitlines() if line.strip().startswith("'")) < 100


async def test_an_explanation_does_not_change(bench: Bench) -> None:
    explanation = await explain(bench, "ItemCountNode")
    with pytest.raises(AttributeError):
        explanation.statements = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        explanation.statements[0].sql = ""  # type: ignore[misc]


async def test_tenants(bench: Bench) -> None:
    (statement,) = (await explain(bench, "WalledListNode", tenant="b")).statements
    assert "b" in statement.binds
    (statement,) = (await explain(bench, "WalledListNode", tenant_id="a", fields=["name"])).statements
    assert "a" in statement.binds
    with pytest.raises(TenantError):
        await explain(bench, "WalledListNode")
    before = await everything(bench)
    write = await explain(bench, "WalledBulkUpdateNode", tenant="b", filter={"id": {"$gt": 0}}, fields={"name": "x"})
    assert not write.statements[-1].ran
    assert await everything(bench) == before


async def test_what_cannot_be_explained(bench: Bench) -> None:
    with pytest.raises(NodeNotFoundError, match="Did you mean 'ItemListNode'"):
        await explain(bench, "ItmListNode")
    with pytest.raises(InputError, match="not a node of a model"):
        await explain(bench, "SwitchNode")
    with pytest.raises(UnknownParameterError, match="Did you mean 'filter'"):
        await explain(bench, "ItemListNode", fliter={})
    with pytest.raises(ConfirmationRequiredError):
        await explain(bench, "ItemBulkDeleteNode", filter={})
    assert (await explain(bench, "ItemListNode", timeout=3, retry=2, input="after")).statements


def test_an_instance_explains(database_url: str) -> None:
    with DataFlow(database_url) as db:
        db.model(Item)

        @db.register_node
        class OwnNode(BaseDataFlowNode):
            def execute(self, input_data: Any) -> Any:
                return input_data

        with pytest.raises(InputError, match="not a node of a model"):
            db.explain("OwnNode", {})
        with pytest.raises(MissingTableError, match="'items' of Item"):
            db.explain("ItemListNode", {})
        assert db.create_tables() == ["items"]
        assert len(db.explain("ItemListNode", {"sort": "sku"}).statements) == 1
