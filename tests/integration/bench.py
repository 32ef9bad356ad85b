"""A database with models, whose nodes tests run one at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases.interface import Database
from dataflow.models import declare
from dataflow.nodes.generated import generated_nodes
from dataflow.nodes.generated.schema import Schema
from dataflow.nodes.interface import Node, RunContext

CONTEXT = RunContext(run_id="run", node_id="node")


class Bench:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.schema = Schema(database, may_create=True, cursor_secret=b"test")
        self.nodes: dict[str, Node] = {}

    def add(self, cls: type) -> None:
        spec = declare(cls, known=self.schema.models, skip_validation=True)
        self.nodes.update(generated_nodes(self.schema.add(spec)))

    async def run(self, node_type: str, *, context: RunContext = CONTEXT, **inputs: Any) -> dict[str, Any]:
        return await self.nodes[node_type].run(inputs, context)

    def check(self, node_type: str, *later: str, **params: Any) -> None:
        self.nodes[node_type].check(params, later)

    async def ids(self, model: str, conditions: dict[str, Any], **inputs: Any) -> list[Any]:
        """Ids of the rows that a filter matches, oldest first unless a sort is given."""
        listed = await self.run(f"{model}ListNode", **{"filter": conditions, "sort": "id", "limit": 1000, **inputs})
        return [record["id"] for record in listed["records"]]


@asynccontextmanager
async def open_bench(url: str, *models: type) -> AsyncIterator[Bench]:
    database = open_database(url, DatabaseOptions(pool_size=5, max_overflow=20))
    bench = Bench(database)
    for cls in models:
        bench.add(cls)
    try:
        yield bench
    finally:
        await database.close()
