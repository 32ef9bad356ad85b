"""Aggregate: counts, sums and means, over all rows or by group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.errors import TypeMismatchError
from dataflow.nodes.generated.arguments import (
    INCLUDE_DELETED,
    READ_LATER,
    filter_parameter,
    resolve,
    seen_rows,
    whole_number,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.aggregates import Column, parse_aggregates
from dataflow.queries.filters import Filter, parse_conditions, parse_filter
from dataflow.queries.select import aggregate_rows
from dataflow.queries.sort import Sort, parse_keys


class AggregateNode(GeneratedNode):
    """Returns ``{"records", "count"}``: one record per group, with the group fields and the aliases.

    Without ``group_by`` there is one record, also over no rows. Records come in the order of ``sort``, then of the
    group fields.
    """

    operation = "Aggregate"

    def describe(self) -> NodeSpec:
        return NodeSpec(
            self.type,
            f"Counts, sums and means of {self.binding.spec.name} rows, by group.",
            (
                Parameter("group_by", str | list[str], default=[], description="Field or fields to group by."),
                Parameter(
                    "aggregate",
                    dict[str, Any],
                    default={},
                    description="{'alias': {'$sum': 'field'}}: $sum $avg $min $max $count $count_distinct.",
                ),
                filter_parameter(self.binding),
                Parameter("having", dict[str, Any], default={}, description="A filter over aliases and group fields."),
                Parameter(
                    "sort",
                    str | list[Any] | dict[str, Any] | None,
                    aliases=("order_by",),
                    description="By aliases and group fields, in the notations of List.",
                ),
                Parameter("limit", int | None, description="Records at most; default all.", coerce=self._limit),
                INCLUDE_DELETED,
                *READ_LATER,
            ),
            (Output("records", list[dict[str, Any]], "One per group."), Output("count", int, "How many records.")),
        )

    def check(self, params: Mapping[str, Any], later: Any) -> None:
        super().check(params, later)
        given = resolve(self.spec, params)
        if {"group_by", "aggregate", "having", "sort"}.isdisjoint(self._canonical(later)):
            self._parse(given)

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        given = resolve(self.spec, inputs)
        columns, having, sort = self._parse(given)
        rows = seen_rows(self.binding, self.type, given)
        where = parse_filter(rows, given.get("filter", {}))
        limit = self._limit(given.get("limit"))
        values = [*where.values, *having.values]
        if limit is not None:
            values.append(limit)
        access = await self.binding.access(context)
        asked = tuple((column.name, column.operator, column.field) for column in columns)
        plan = rows.plans.get(
            ("aggregate", asked, where.shape, having.shape, sort, limit is None),
            lambda: aggregate_rows(rows, columns, where, having, sort, limited=limit is not None),
        )
        found = await access.fetch_all(plan, values)
        assert plan.decode is not None
        return {"records": list(map(plan.decode, found)), "count": len(found)}

    def _limit(self, value: Any) -> int | None:
        return None if value is None else whole_number(self.type, "limit", value)

    def _parse(self, given: Mapping[str, Any]) -> tuple[tuple[Column, ...], Filter, Sort]:
        binding = self.binding
        groups = given.get("group_by", [])
        groups = [groups] if isinstance(groups, str) else groups
        aggregate = given.get("aggregate", {})
        if not isinstance(groups, list | tuple) or not isinstance(aggregate, Mapping):
            raise TypeMismatchError(
                f"{self.type}: group_by is a list of field names and aggregate a dict.",
                hint="Write group_by=['status'], aggregate={'total': {'$sum': 'amount'}}.",
                node_type=self.type,
            )
        dialect = binding.database.dialect
        columns = parse_aggregates(binding.codec, dialect, groups, aggregate)
        names = [column.name for column in columns]
        codecs = {column.name: column.codec for column in columns}
        having = parse_conditions(codecs, dialect, given.get("having", {}), owner=self.type)
        asked = given.get("sort")
        keys = parse_keys(asked, names, self.type) if asked else ()
        rest = [(name, False) for name in groups if all(name != key for key, _ in keys)]
        return columns, having, (*keys, *rest)

    def _canonical(self, names: Any) -> set[str]:
        found = (self.spec.parameter(name) for name in names)
        return {parameter.name for parameter in found if parameter is not None}
