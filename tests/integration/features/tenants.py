"""What the tests of multi-tenant models share."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.interface import RunContext
from tests.integration.bench import CONTEXT, Bench


def context(tenant: str | None) -> RunContext:
    return replace(CONTEXT, tenant_id=tenant)


def binding(bench: Bench, model: str) -> ModelBinding:
    return bench.nodes[f"{model}CreateNode"].binding  # type: ignore[attr-defined,no-any-return]


class Tenant:
    """Runs nodes for one tenant."""

    def __init__(self, bench: Bench, name: str | None) -> None:
        self.bench = bench
        self.name = name

    async def run(self, node_type: str, **inputs: Any) -> dict[str, Any]:
        return await self.bench.run(node_type, context=context(self.name), **inputs)

    async def rows(self, model: str, **inputs: Any) -> list[dict[str, Any]]:
        """All rows that may be seen, by id."""
        listed = await self.run(f"{model}ListNode", sort="id", limit=1000, **inputs)
        records: list[dict[str, Any]] = listed["records"]
        return records
