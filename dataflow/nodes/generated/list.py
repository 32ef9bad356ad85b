"""List: rows of a filter, in order, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.errors import TypeMismatchError
from dataflow.nodes.generated.arguments import (
    READ_LATER,
    LaterParameter,
    checked_by,
    filter_parameter,
    flag,
    resolve,
    whole_number,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.lookups import count_matching
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.filters import parse_filter
from dataflow.queries.select import select_rows
from dataflow.queries.sort import parse_sort

DEFAULT_LIMIT = 100


class ListNode(GeneratedNode):
    """Returns ``{"records", "count", "limit", "offset", "has_more", "next_cursor"}``.

    One query asks for one row more than the limit, to know whether there are more. ``total`` is counted by a second
    query only where the page does not tell. Any limit is taken: whoever asks for a million rows has them in memory.
    ``fields`` returns just the fields it names; ``id`` is one of them only if it names it.
    """

    operation = "List"

    def describe(self) -> NodeSpec:
        binding = self.binding
        name = binding.spec.name
        return NodeSpec(
            self.type,
            f"Returns {name} rows that match a filter, in order.",
            (
                filter_parameter(binding),
                Parameter(
                    "limit",
                    int,
                    default=DEFAULT_LIMIT,
                    description="Rows at most.",
                    coerce=lambda value: whole_number(self.type, "limit", value),
                ),
                Parameter(
                    "offset",
                    int,
                    default=0,
                    description="Rows to leave out first.",
                    coerce=lambda value: whole_number(self.type, "offset", value),
                ),
                Parameter(
                    "sort",
                    str | list[Any] | dict[str, Any] | None,
                    aliases=("order_by",),
                    description="'-age', ['name', '-age'], [{'age': -1}]; default newest id first.",
                    coerce=checked_by(lambda value: parse_sort(binding.spec, value)),
                ),
                Parameter(
                    "fields",
                    list[str] | None,
                    description="Only these fields, in this order; default all.",
                    coerce=checked_by(self._names),
                ),
                Parameter("count_only", bool, default=False, description="Return {'count': n} of all that match."),
                Parameter("with_total", bool, default=False, description="Add 'total', the count of all that match."),
                LaterParameter("cursor", str, description="Go on after the page that gave it as next_cursor."),
                *READ_LATER,
            ),
            (
                Output("records", list[dict[str, Any]], "The rows."),
                Output("count", int, "How many rows are returned; all that match with count_only."),
                Output("limit", int),
                Output("offset", int),
                Output("has_more", bool, "Whether more rows match."),
                Output("next_cursor", str | None),
                Output("total", int, "How many rows match, with with_total."),
            ),
        )

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        given = resolve(self.spec, inputs)
        binding = self.binding
        dialect = binding.database.dialect
        where = parse_filter(binding.codec, dialect, given.get("filter", {}))
        limit = whole_number(self.type, "limit", given.get("limit", DEFAULT_LIMIT))
        offset = whole_number(self.type, "offset", given.get("offset", 0))
        sort = parse_sort(binding.spec, given.get("sort"))
        names = self._names(given.get("fields"))
        with_total = flag(self.type, "with_total", given.get("with_total", False))
        count_only = flag(self.type, "count_only", given.get("count_only", False))
        executor = await binding.executor(context)
        if count_only:
            return {"count": await count_matching(binding, executor, where)}
        plan = binding.plans.get(
            ("list", where.shape, sort, names),
            lambda: select_rows(binding.table, binding.codec, dialect, where, sort, names or binding.spec.names),
        )
        rows = await executor.fetch_all(plan.sql, plan.arguments([*where.values, limit + 1, offset]))
        has_more = len(rows) > limit
        if has_more:
            rows = rows[:limit]
        assert plan.decode is not None
        records = list(map(plan.decode, rows))
        result: dict[str, Any] = {
            "records": records,
            "count": len(records),
            "limit": limit,
            "offset": offset,
            "has_more": has_more,
            "next_cursor": None,
        }
        if with_total:
            is_last = not has_more and (bool(records) or offset == 0)
            result["total"] = offset + len(records) if is_last else await count_matching(binding, executor, where)
        return result

    def _names(self, fields: Any) -> tuple[str, ...] | None:
        if fields is None:
            return None
        if not isinstance(fields, list | tuple) or not fields:
            raise TypeMismatchError(
                f"{self.type}: fields is a list of field names, got {fields!r}.",
                hint="Write ['id', 'name'].",
                node_type=self.type,
            )
        return tuple(dict.fromkeys(self.binding.spec.field(name).name for name in fields))
