"""Nodes beside the raw driver: the node and bulk rows of the design's budgets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.measure import Comparison, compare
from benchmarks.raw import Raw, RawMySQL, RawPostgreSQL, RawSQLite, values
from dataflow import AsyncLocalRuntime, DataFlow, Workflow, WorkflowBuilder

#: Connections on each side.
POOL = 10
BULK_ROWS = 50_000
#: Rows that reads, updates and lists work on.
TABLE_ROWS = 1_000

RAW: dict[str, Callable[[str, int], Awaitable[Raw]]] = {
    "postgresql": RawPostgreSQL.open,
    "mysql": RawMySQL.open,
    "sqlite": RawSQLite.open,
}


class Nodes:
    """Our side: one-node workflows through AsyncLocalRuntime."""

    def __init__(self, db: DataFlow) -> None:
        self.db = db
        self.runtime = AsyncLocalRuntime(execution_timeout=600)
        self.create = self._workflow("BenchRowCreateNode", {}, ("name", "email", "age", "score", "active"))
        self.read = self._workflow("BenchRowReadNode", {}, ("id",))
        self.update = self._workflow("BenchRowUpdateNode", {}, ("id", "age"))
        self.delete = self._workflow("BenchRowDeleteNode", {}, ("id",))
        self.list_rows = self._workflow("BenchRowListNode", {"filter": {"age": {"$gte": 5}}, "limit": 100})
        self.bulk_create = self._workflow("BenchRowBulkCreateNode", {"batch_size": BULK_ROWS}, ("data",))
        self.bulk_upsert = self._workflow("BenchRowBulkUpsertNode", {"batch_size": BULK_ROWS}, ("data",))
        self.bulk_update = self._workflow("BenchRowBulkUpdateNode", {"batch_size": BULK_ROWS}, ("data",))
        self.bulk_delete = self._workflow("BenchRowBulkDeleteNode", {"batch_size": BULK_ROWS}, ("ids",))

    def _workflow(self, node_type: str, params: dict[str, Any], inputs: tuple[str, ...] = ()) -> Workflow:
        builder = WorkflowBuilder(name=node_type)
        builder.add_node(node_type, "n", params)
        return builder.add_workflow_inputs("n", inputs).build()

    async def run(self, workflow: Workflow, inputs: dict[str, Any]) -> Any:
        results, _ = await self.runtime.execute_workflow_async(workflow, {"n": inputs})
        return results["n"]


async def compare_nodes(dialect: str, url: str, report: Callable[[Comparison], None], *, quick: bool) -> None:
    """Measure all rows on one database, telling each as it is known."""
    db = DataFlow(url, pool_size=POOL, max_overflow=0)

    @db.model
    class BenchRow:
        name: str
        email: str
        age: int
        score: float
        active: bool

    await db.create_tables_async()
    raw = await RAW[dialect](url, POOL)
    nodes = Nodes(db)
    try:
        await _singles(dialect, raw, nodes, report, quick=quick)
        await _bulk(raw, nodes, report, quick=quick)
    finally:
        await raw.close()
        await db.close_async()


async def _fill(raw: Raw, count: int) -> None:
    await raw.run("DELETE FROM bench_rows")
    await raw.bulk_upsert([{"id": number + 1, **values(number)} for number in range(count)])


async def _singles(dialect: str, raw: Raw, nodes: Nodes, report: Callable[[Comparison], None], *, quick: bool) -> None:
    calls = 200 if quick else 1_000
    reads, writes = (0.30, 0.50) if dialect == "sqlite" else (0.65, 0.65)

    async def empty() -> None:
        await raw.run("DELETE FROM bench_rows")

    async def fill() -> None:
        await _fill(raw, TABLE_ROWS)

    async def fill_to_delete() -> None:
        await _fill(raw, 10 * calls)

    async def create(number: int) -> object:
        return await nodes.run(nodes.create, values(number))

    async def read(number: int) -> object:
        return await nodes.run(nodes.read, {"id": number % TABLE_ROWS + 1})

    async def update(number: int) -> object:
        return await nodes.run(nodes.update, {"id": number % TABLE_ROWS + 1, "age": number % 90})

    async def delete(number: int) -> object:
        return await nodes.run(nodes.delete, {"id": number + 1})

    async def raw_delete(number: int) -> object:
        return await raw.delete(number + 1)

    async def list_rows(number: int) -> object:
        return await nodes.run(nodes.list_rows, {})

    for concurrency in (1, 50):
        suffix = "sequential" if concurrency == 1 else f"{concurrency} concurrent"
        for what, raw_call, our_call, prepare, budget in (
            ("create", raw.create, create, empty, writes),
            ("read", raw.read, read, fill, reads),
            ("update", raw.update, update, fill, writes),
            ("delete", raw_delete, delete, fill_to_delete, writes),
        ):
            report(
                await compare(
                    f"{what}, {suffix}",
                    raw_call,
                    our_call,
                    calls=calls,
                    concurrency=concurrency,
                    budget=budget,
                    before=prepare,
                    rounds=3 if quick else 7,
                )
            )
    await fill()
    rounds = 3 if quick else 7
    report(await compare("list, 100 rows", raw.list_rows, list_rows, calls=calls // 4, budget=0.70, rounds=rounds))


async def _bulk(raw: Raw, nodes: Nodes, report: Callable[[Comparison], None], *, quick: bool) -> None:
    count = BULK_ROWS // 10 if quick else BULK_ROWS
    rows = [values(number) for number in range(count)]
    keyed = [{"id": number + 1, **row} for number, row in enumerate(rows)]
    ages = [{"id": number + 1, "age": number % 80} for number in range(count)]
    ids = [row["id"] for row in keyed]

    async def empty() -> None:
        await raw.run("DELETE FROM bench_rows")

    async def full() -> None:
        await _fill(raw, count)

    for what, raw_call, workflow, name, given, prepare in (
        ("bulk create", raw.bulk_create, nodes.bulk_create, "data", rows, empty),
        ("bulk upsert, all new", raw.bulk_upsert, nodes.bulk_upsert, "data", keyed, empty),
        ("bulk upsert, all known", raw.bulk_upsert, nodes.bulk_upsert, "data", keyed, full),
        ("bulk update by rows", raw.bulk_update, nodes.bulk_update, "data", ages, full),
        ("bulk delete by ids", raw.bulk_delete, nodes.bulk_delete, "ids", ids, full),
    ):

        async def raw_side(_: int, call: Any = raw_call, data: Any = given) -> object:
            return await call(data)

        async def our_side(_: int, workflow: Workflow = workflow, name: str = name, data: Any = given) -> object:
            result = await nodes.run(workflow, {name: data})
            assert result["processed"] == len(data), result
            return result

        report(
            await compare(
                f"{what}, {count:,} rows",
                raw_side,
                our_side,
                calls=1,
                units=count,
                budget=0.80,
                before=prepare,
                rounds=3 if quick else 5,
            )
        )
