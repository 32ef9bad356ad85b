"""Questions that several nodes ask of a filter: how many rows it matches, and which one."""

from __future__ import annotations

from typing import Any

from dataflow.databases.interface import Executor
from dataflow.errors import MultipleRecordsError
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.queries.filters import Filter
from dataflow.queries.select import count_rows, select_ids


async def count_matching(binding: ModelBinding, executor: Executor, where: Filter) -> int:
    """How many rows match."""
    plan = binding.plans.get(("count", where.shape), lambda: count_rows(binding.table, binding.database.dialect, where))
    row = await executor.fetch_one(plan.sql, plan.arguments(where.values))
    assert row is not None
    return int(row[0])


async def find_one(
    binding: ModelBinding, node_type: str, where: Filter, transaction: Executor, instead: str
) -> Any | None:
    """The driver value of the id of the one row that matches, locked; None if none does.

    Args:
        binding: The model.
        node_type: Who asks, for messages.
        where: The filter.
        transaction: Holds the lock.
        instead: Operation that changes several rows, for the message.

    Raises:
        MultipleRecordsError: Several rows match.
    """
    plan = binding.plans.get(
        ("find", where.shape),
        lambda: select_ids(binding.table, binding.codec, binding.database.dialect, where, limit=2),
    )
    rows = await transaction.fetch_all(plan.sql, plan.arguments(where.values))
    if len(rows) > 1:
        raise MultipleRecordsError(
            f"{node_type}: the filter matches several rows, this node changes one.",
            hint=f"Narrow it, or use {binding.spec.name}{instead}Node.",
            model=binding.spec.name,
        )
    if not rows:
        return None
    codec = binding.codec.fields[binding.spec.primary_key.name]
    value = rows[0][0] if codec.decode is None else codec.decode(rows[0][0])
    return codec.bind(value)
