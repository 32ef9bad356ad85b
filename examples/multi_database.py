"""Two databases in one workflow: the same model on both, rows read from one and kept in the other.

``"database"`` in a node's parameters says which instance is meant, since both offer its node type.

Run it: python examples/multi_database.py
"""

from typing import Any

from dataflow import DataFlow, LocalRuntime, WorkflowBuilder

shop = DataFlow("sqlite:///shop.db", name="shop")
archive = DataFlow("sqlite:///archive.db", name="archive")


@shop.model
@archive.model
class Order:
    customer: str
    total: float
    status: str = "open"


def run(workflow: WorkflowBuilder) -> dict[str, Any]:
    results, _ = LocalRuntime().execute(workflow.build())
    return results


orders = [
    {"customer": "Ada", "total": 120.0, "status": "completed"},
    {"customer": "Grace", "total": 80.5, "status": "completed"},
    {"customer": "Alan", "total": 42.0},
]
first = WorkflowBuilder("take orders")
first.add_node("OrderBulkCreateNode", "orders", {"database": "shop", "data": orders})
run(first)

move = WorkflowBuilder("archive completed orders")
completed = {"status": "completed"}
wanted = ["customer", "total", "status"]
move.add_node("OrderListNode", "completed", {"database": "shop", "filter": completed, "fields": wanted})
move.add_node("OrderBulkUpsertNode", "keep", {"database": "archive"})
move.add_node("OrderBulkDeleteNode", "remove", {"database": "shop", "filter": completed})
move.add_connection("completed", "records", "keep", "data")
move.add_connection("keep", "result", "remove", "input")
run(move)

count = WorkflowBuilder("count")
count.add_node("OrderCountNode", "shop", {"database": "shop"})
count.add_node("OrderCountNode", "archive", {"database": "archive"})
counts = run(count)
print(f"shop: {counts['shop']['count']}, archive: {counts['archive']['count']}")

shop.close()
archive.close()
