"""List: rows of a filter, in order, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.errors import InputError, TypeMismatchError
from dataflow.nodes.generated.arguments import (
    INCLUDE_DELETED,
    READ_LATER,
    checked_by,
    filter_parameter,
    flag,
    resolve,
    seen_rows,
    whole_number,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.generated.lookups import count_matching, fetch_after
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.cursor import question_of
from dataflow.queries.filters import parse_filter
from dataflow.queries.keyset import keys_of
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

    def __init__(self, binding: ModelBinding) -> None:
        super().__init__(binding)
        self._everything = parse_filter(binding.rows, {})

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
                Parameter(
                    "cursor",
                    str | None,
                    description="Go on after the page that gave it as next_cursor; instead of offset.",
                    coerce=checked_by(self._check_cursor),
                ),
                INCLUDE_DELETED,
                *READ_LATER,
            ),
            (
                Output("records", list[dict[str, Any]], "The rows."),
                Output("count", int, "How many rows are returned; all that match with count_only."),
                Output("limit", int),
                Output("offset", int),
                Output("has_more", bool, "Whether more rows match."),
                Output("next_cursor", str | None, "What goes on behind this page; None where no more rows match."),
                Output("total", int, "How many rows match, with with_total."),
            ),
        )

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        given = resolve(self.spec, inputs)
        binding = self.binding
        rows = seen_rows(binding, self.type, given)
        where = parse_filter(rows, given["filter"]) if "filter" in given else self._everything
        limit = whole_number(self.type, "limit", given.get("limit", DEFAULT_LIMIT))
        offset = whole_number(self.type, "offset", given.get("offset", 0))
        sort = parse_sort(binding.spec, given.get("sort"))
        names = self._names(given.get("fields"))
        with_total = flag(self.type, "with_total", given.get("with_total", False))
        count_only = flag(self.type, "count_only", given.get("count_only", False))
        cursor, question = given.get("cursor"), None
        access = await binding.access(context)
        if count_only:
            return {"count": await count_matching(rows, access, where)}
        selected = names or binding.spec.names
        if cursor is None:
            plan = rows.plans.get(
                ("list", where.shape, sort, names, None), lambda: select_rows(rows, where, sort, selected)
            )
            found = await access.fetch_all(plan, [*where.values, limit + 1, offset])
        else:
            if offset:
                raise InputError(
                    f"{self.type}: cursor and offset both say where the page begins.",
                    hint="Leave the offset out.",
                    node_type=self.type,
                )
            question = question_of(rows, where, sort, context.tenant_id)
            keys = binding.cursors.read_for(question, cursor)
            plan, found = await fetch_after(rows, access, where, sort, selected, keys, limit + 1)
        has_more = len(found) > limit
        next_cursor = None
        if has_more:
            found = found[:limit]
            next_cursor = cursor
            if found:
                question = question or question_of(rows, where, sort, context.tenant_id)
                next_cursor = binding.cursors.write(question, keys_of(rows, found[-1], selected, sort))
        assert plan.decode is not None
        records = list(map(plan.decode, found))
        result: dict[str, Any] = {
            "records": records,
            "count": len(records),
            "limit": limit,
            "offset": offset,
            "has_more": has_more,
            "next_cursor": next_cursor,
        }
        if with_total:
            is_last = cursor is None and not has_more and (bool(records) or offset == 0)
            result["total"] = offset + len(records) if is_last else await count_matching(rows, access, where)
        return result

    def _check_cursor(self, cursor: Any) -> None:
        if cursor is not None:
            self.binding.cursors.read(cursor)

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
