"""Streams: all rows of a list, however many, in the memory of one page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from dataflow.errors import InputError, NodeNotFoundError, did_you_mean
from dataflow.nodes.generated.arguments import whole_number
from dataflow.nodes.generated.list import ListNode
from dataflow.nodes.interface import Node, RunContext
from dataflow.tenants import checked_tenant


def stream_rows(
    nodes: Mapping[str, Node],
    name: str,
    *,
    filter: Mapping[str, Any] | None,  # noqa: A002
    sort: Any,
    fields: Sequence[str] | None,
    page_size: int,
    tenant_id: str | None,
    include_deleted: bool,
) -> AsyncGenerator[dict[str, Any], None]:
    """The rows of a list, one at a time, read by pages behind a cursor.

    What can be known to be wrong is raised here, not by the first row.

    Args:
        nodes: The instance's node types.
        name: The type of a List node, or the name of its model.
        filter: As List takes it.
        sort: As List takes it.
        fields: As List takes it.
        page_size: Rows in memory, 1 or more.
        tenant_id: Whose rows.
        include_deleted: Also rows that were soft-deleted.

    Raises:
        NodeNotFoundError: There is no such model.
        InputError: A parameter is wrong.
    """
    node = nodes.get(name) or nodes.get(f"{name}ListNode")
    if not isinstance(node, ListNode):
        models = [item.binding.spec.name for item in nodes.values() if isinstance(item, ListNode)]
        raise NodeNotFoundError(
            f"There is no model and no List node {name!r}.",
            hint=did_you_mean(name.removesuffix("ListNode"), models),
            node_type=name,
        )
    if whole_number(node.type, "page_size", page_size) == 0:
        raise InputError(f"{node.type}: page_size is 1 or more.", parameter="page_size")
    inputs: dict[str, Any] = {"sort": sort, "fields": fields, "limit": page_size, "include_deleted": include_deleted}
    if filter is not None:
        inputs["filter"] = filter
    node.check(inputs, ())
    tenant = None if tenant_id is None else checked_tenant(tenant_id)
    return _rows(node, inputs, RunContext(run_id="stream", node_id=node.type, tenant_id=tenant))


async def _rows(node: ListNode, inputs: dict[str, Any], context: RunContext) -> AsyncGenerator[dict[str, Any], None]:
    cursor = None
    while True:
        page = await node.run({**inputs, "cursor": cursor}, context)
        records, cursor = page["records"], page["next_cursor"]
        del page
        for record in records:
            yield record
        if cursor is None:
            return
