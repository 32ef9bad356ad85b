"""Count: how many rows a filter matches, exactly or about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.databases.interface import Dialect
from dataflow.errors import InputError, did_you_mean
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.arguments import (
    INCLUDE_DELETED,
    READ_LATER,
    filter_parameter,
    resolve,
    seen_rows,
    whole_number,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.lookups import count_matching
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.filters import Filter, parse_filter
from dataflow.queries.model import ModelRows
from dataflow.queries.planner import estimate_rows, read_estimate
from dataflow.queries.select import count_some

DEFAULT_CAP = 1_000
MODES = ("exact", "capped", "estimated")


class CountNode(GeneratedNode):
    """Returns ``{"count": n}``; in the other modes ``{"count", "exact"}``, which says whether it is the true number.

    An exact count reads every row that matches, or its index entry. ``capped`` stops at ``cap`` rows: it tells "17"
    from "more than 1,000" at a bounded price. ``estimated`` reads no row at all: it asks the database's planner, whose
    numbers are as good as its statistics (``ANALYZE``), and on SQLite, which keeps none, it counts.
    """

    operation = "Count"

    def describe(self) -> NodeSpec:
        return NodeSpec(
            self.type,
            f"Counts {self.binding.spec.name} rows that match a filter.",
            (
                filter_parameter(self.binding),
                Parameter(
                    "mode",
                    str,
                    default="exact",
                    description="'exact', 'capped' (no further than cap) or 'estimated' (by the planner).",
                    coerce=self._mode,
                ),
                Parameter(
                    "cap",
                    int,
                    default=DEFAULT_CAP,
                    description="Where a capped count stops.",
                    coerce=lambda value: whole_number(self.type, "cap", value),
                ),
                INCLUDE_DELETED,
                *READ_LATER,
            ),
            (
                Output("count", int, "How many rows match."),
                Output("exact", bool, "Whether count is their number; with the modes capped and estimated."),
            ),
        )

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        given = resolve(self.spec, inputs)
        rows = seen_rows(self.binding, self.type, given)
        where = parse_filter(rows, given.get("filter", {}))
        mode = self._mode(given.get("mode", "exact"))
        if "cap" in given and mode != "capped":
            raise InputError(
                f"{self.type}: cap belongs to mode='capped', this is mode={mode!r}.",
                hint="Add mode='capped', or leave the cap out.",
                node_type=self.type,
            )
        cap = whole_number(self.type, "cap", given.get("cap", DEFAULT_CAP))
        access = await self.binding.access(context)
        if mode == "capped":
            return await _capped(rows, access, where, cap)
        if mode == "estimated" and rows.dialect is not Dialect.SQLITE:
            return {"count": await self._estimate(rows, access, where), "exact": False}
        count = await count_matching(rows, access, where)
        return {"count": count} if mode == "exact" else {"count": count, "exact": True}

    async def _estimate(self, rows: ModelRows, access: Access, where: Filter) -> int:
        mariadb = (await self.binding.database.capabilities()).server.startswith("MariaDB")
        plan = rows.plans.get(("estimate", where.shape), lambda: estimate_rows(rows, where, mariadb=mariadb))
        return read_estimate(await access.fetch_all(plan, where.values), rows.dialect)

    def _mode(self, value: Any) -> str:
        if value in MODES:
            return str(value)
        raise InputError(
            f"{self.type}: there is no mode {value!r}.", hint=did_you_mean(str(value), MODES), parameter="mode"
        )


async def _capped(rows: ModelRows, access: Access, where: Filter, cap: int) -> dict[str, Any]:
    plan = rows.plans.get(("capped", where.shape), lambda: count_some(rows, where))
    row = await access.fetch_one(plan, [*where.values, cap + 1])
    assert row is not None
    found = int(row[0])
    return {"count": min(found, cap), "exact": found <= cap}
