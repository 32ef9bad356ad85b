"""Count: how many rows a filter matches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.nodes.generated.arguments import READ_LATER, LaterParameter, filter_parameter, resolve
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.lookups import count_matching
from dataflow.nodes.interface import NodeSpec, Output, RunContext
from dataflow.queries.filters import parse_filter


class CountNode(GeneratedNode):
    """Returns ``{"count": n}``."""

    operation = "Count"

    def describe(self) -> NodeSpec:
        return NodeSpec(
            self.type,
            f"Counts {self.binding.spec.name} rows that match a filter.",
            (
                filter_parameter(self.binding),
                LaterParameter("mode", str, default="exact", description="How: 'exact'."),
                *READ_LATER,
            ),
            (Output("count", int, "How many rows match."),),
        )

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        given = resolve(self.spec, inputs)
        binding = self.binding
        where = parse_filter(binding.codec, binding.database.dialect, given.get("filter", {}))
        executor = await binding.executor(context)
        return {"count": await count_matching(binding, executor, where)}
