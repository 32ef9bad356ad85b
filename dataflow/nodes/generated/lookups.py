"""Questions that nodes ask of a filter: how many rows it matches, which one, and those after one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dataflow.databases.interface import Row
from dataflow.errors import MultipleRecordsError, VersionConflictError
from dataflow.nodes.generated.access import Access, TransactionAccess
from dataflow.queries.filters import Filter
from dataflow.queries.keyset import SECOND_STRETCH, Nulls, ends_first_stretch
from dataflow.queries.model import ModelRows
from dataflow.queries.one_row import select_version
from dataflow.queries.plan import Plan
from dataflow.queries.select import count_rows, select_ids, select_rows
from dataflow.queries.sort import Sort


async def count_matching(rows: ModelRows, access: Access, where: Filter) -> int:
    """How many rows match."""
    plan = rows.plans.get(("count", where.shape), lambda: count_rows(rows, where))
    row = await access.fetch_one(plan, where.values)
    assert row is not None
    return int(row[0])


async def fetch_after(
    rows: ModelRows,
    access: Access,
    where: Filter,
    sort: Sort,
    names: tuple[str, ...],
    keys: Sequence[Any],
    limit: int,
) -> tuple[Plan, list[Row]]:
    """The rows that match and come after one.

    Args:
        rows: The rows to look among.
        access: What runs the plans.
        where: The filter.
        sort: Their order.
        names: The fields wanted; the rows have the sort keys as well.
        keys: The sort keys of the row that they come after.
        limit: Rows at most.

    Returns:
        A plan that decodes them, and the rows.
    """

    def plan_of(nulls: Nulls) -> Plan:
        return rows.plans.get(
            ("list", where.shape, sort, names, nulls), lambda: select_rows(rows, where, sort, names, nulls)
        )

    nulls = tuple([key is None for key in keys])
    plan = plan_of(nulls)
    found = await access.fetch_all(plan, [*where.values, *[key for key in keys if key is not None], limit])
    if len(found) < limit and ends_first_stretch(rows, sort, nulls):
        second = await access.fetch_all(plan_of(SECOND_STRETCH), [*where.values, limit - len(found)])
        found = [*found, *second]
    return plan, found


async def find_one(
    rows: ModelRows, node_type: str, where: Filter, access: TransactionAccess, instead: str
) -> Any | None:
    """The driver value of the id of the one row that matches, locked; None if none does.

    Args:
        rows: The rows to look among.
        node_type: Who asks, for messages.
        where: The filter.
        access: The transaction that holds the lock.
        instead: Operation that changes several rows, for the message.

    Raises:
        MultipleRecordsError: Several rows match.
    """
    plan = rows.plans.get(("find", where.shape), lambda: select_ids(rows, where, limit=2))
    found = await access.fetch_all(plan, where.values)
    if len(found) > 1:
        raise MultipleRecordsError(
            f"{node_type}: the filter matches several rows, this node changes one.",
            hint=f"Narrow it, or use {rows.spec.name}{instead}Node.",
            model=rows.spec.name,
        )
    if not found:
        return None
    codec = rows.codec.fields[rows.spec.primary_key.name]
    value = found[0][0] if codec.decode is None else codec.decode(found[0][0])
    return codec.bind(value)


async def check_version(rows: ModelRows, node_type: str, access: Access, key: Any, expected: int) -> None:
    """Say why no row had an id and a version: nothing where there is no such row.

    Raises:
        VersionConflictError: The row has another version.
    """
    plan = rows.plans.get("version", lambda: select_version(rows))
    row = await access.fetch_one(plan, (key,))
    if row is not None:
        raise VersionConflictError(
            f"{node_type}: the {rows.spec.name} is at version {row[0]}, not {expected}: it was changed meanwhile.",
            hint="Read it again, and repeat the change on what is there now.",
            model=rows.spec.name,
            expected=expected,
            actual=row[0],
        )
