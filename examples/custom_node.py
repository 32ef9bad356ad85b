"""A node of your own between two generated ones.

Its constructor takes what the workflow's author sets, ``execute`` what other nodes send.

Run it: python examples/custom_node.py
"""

from typing import Any

from dataflow import BaseDataFlowNode, DataFlow, LocalRuntime, WorkflowBuilder

db = DataFlow(":memory:")


@db.model
class Reading:
    sensor: str
    celsius: float


@db.register_node
class OutlierNode(BaseDataFlowNode):
    """Readings further than ``limit`` degrees from the mean."""

    def __init__(self, node_id: str, limit: float = 10.0) -> None:
        super().__init__(node_id)
        self.limit = limit

    def execute(self, input_data: dict[str, Any]) -> dict[str, Any]:
        readings = input_data["readings"]
        mean = sum(reading["celsius"] for reading in readings) / len(readings)
        return {"ids": [row["id"] for row in readings if abs(row["celsius"] - mean) > self.limit], "mean": mean}


readings = [{"sensor": "roof", "celsius": celsius} for celsius in (20.5, 21.0, 19.5, 85.0, 20.0)]

workflow = WorkflowBuilder("remove outliers")
workflow.add_node("ReadingBulkCreateNode", "store", {"data": readings})
workflow.add_node("ReadingListNode", "all")
workflow.add_node("OutlierNode", "outliers", {"limit": 20.0})
workflow.add_node("ReadingBulkDeleteNode", "delete")
workflow.add_connection("store", "result", "all", "input")
workflow.add_connection("all", "records", "outliers", "readings")
workflow.add_connection("outliers", "ids", "delete", "ids")

results, _ = LocalRuntime().execute(workflow.build())
print(f"{results['delete']['deleted']} of {results['store']['inserted']} readings were outliers")
db.close()
