"""A workflow that starts because a row changed, whoever changed it.

``fulfilment`` is started for each order that becomes completed: here by plain SQL, from a program that knows nothing of
DataFlow (psql on PostgreSQL, sqlite3 on SQLite). Capture reads the change from the database, the scheduler makes a job
of it, the worker runs that: three steps, one job, whichever of them is killed meanwhile.

Run it: python examples/order_events.py
It starts a worker, and a scheduler that captures, too (on REDIS_URL, else on an embedded broker; DATABASE_URL, else a
file), has an order completed, waits for its shipment, and stops them.
"""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from dataflow import DataFlow, LocalRuntime, WorkflowBuilder

db = DataFlow()


@db.model
class Order:
    customer: str
    total: Decimal
    status: str = "open"


@db.model
class Shipment:
    order_id: int
    customer: str


@db.on(
    Order,
    "update",
    filter={"status": "completed"},
    transition=True,
    inputs={"ship": {"order_id": "after.id", "customer": "after.customer"}},
)
@db.workflow
def fulfilment() -> WorkflowBuilder:
    workflow = WorkflowBuilder("fulfilment")
    workflow.add_node("ShipmentCreateNode", "ship", {})
    workflow.add_workflow_inputs("ship", ["order_id", "customer"])
    return workflow


def run(node: str, parameters: dict[str, object]) -> dict[str, object]:
    """Run one node."""
    workflow = WorkflowBuilder()
    workflow.add_node(node, "it", parameters)
    results, _ = LocalRuntime().execute(workflow.build())
    return dict(results["it"])


def plain_sql(statement: str) -> str:
    """Run a statement by the database's own program; its name."""
    url = db.settings.database_url
    if url.startswith("postgresql"):
        subprocess.run(["psql", "--quiet", url, "--command", statement], check=True)
        return "psql"
    path = url.removeprefix("sqlite:///")
    if shutil.which("sqlite3"):
        subprocess.run(
            ["sqlite3", path, "PRAGMA busy_timeout = 5000", statement], check=True, stdout=subprocess.DEVNULL
        )
        return "sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    return "Python's sqlite3"


def main() -> None:
    dataflow = Path(sys.executable).with_name("dataflow")
    importable = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ,
        "PYTHONPATH": importable,
        "REDIS_URL": asyncio.run(db.broker.url()),
        "DATABASE_URL": db.settings.database_url,
    }
    db.create_tables()
    worker = subprocess.Popen([dataflow, "worker", "order_events:db"], env=environment)
    scheduler = subprocess.Popen(
        [dataflow, "scheduler", "order_events:db", "--with-capture"], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert scheduler.stderr is not None
        for line in scheduler.stderr:
            if "are captured from here on" in line:
                break
        order = run("OrderCreateNode", {"customer": "Ada", "total": Decimal("120.00")})
        other = run("OrderCreateNode", {"customer": "Bob", "total": Decimal("80.00")})
        program = plain_sql(f"UPDATE orders SET status = 'completed' WHERE id = {order['id']}")
        print("completed by", program)
        deadline = time.monotonic() + 60
        while not (shipments := run("ShipmentListNode", {})["records"]) and time.monotonic() < deadline:
            time.sleep(0.02)
        print("shipments:", [(item["order_id"] == order["id"], item["customer"]) for item in shipments])  # type: ignore[attr-defined]
        trigger = db.triggers.get("fulfilment")
        print(f"{trigger.name}: {trigger.what}; fired {trigger.fired}; not for order {other['id']}")
    finally:
        for process in (scheduler, worker):
            process.terminate()
        scheduler.communicate(timeout=30)
        worker.wait(30)
    db.close()


if __name__ == "__main__":
    main()
