"""The app that examples/enqueue_from_web_app.py enqueues for, and that its worker serves."""

from dataflow import DataFlow, WorkflowBuilder

db = DataFlow()


@db.model
class Order:
    customer: str
    total: float
    status: str = "pending"


@db.workflow
def fulfil_order() -> WorkflowBuilder:
    """Stores an order, then marks it completed."""
    workflow = WorkflowBuilder("fulfil_order")
    workflow.add_node("OrderCreateNode", "store", {"customer": "{{customer}}", "total": "{{total}}"})
    workflow.add_node("OrderUpdateNode", "complete", {"fields": {"status": "completed"}})
    workflow.add_connection("store", "id", "complete", "id")
    return workflow
