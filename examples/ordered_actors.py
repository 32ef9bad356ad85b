"""Plain functions as jobs, one at a time per account.

``post`` reads an account's last entry and writes the next, which would go wrong if two ran at once: its ordering key
makes the jobs of an account run one after the other, in the order of their sending, while accounts go on side by side.
``statement`` is a synchronous function; here it is a node of a workflow too.

Run it: python examples/ordered_actors.py
It starts a worker (on REDIS_URL, else on an embedded broker), sends the jobs, prints what came of them, and stops it.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dataflow import AsyncLocalRuntime, DataFlow, LocalRuntime, WorkflowBuilder

db = DataFlow()


@db.model
class Entry:
    account: str
    amount: int
    balance: int


async def run_node(node_type: str, params: dict[str, Any]) -> dict[str, Any]:
    workflow = WorkflowBuilder()
    workflow.add_node(node_type, "node", params)
    results, _ = await AsyncLocalRuntime().execute_workflow_async(workflow.build())
    return dict(results["node"])


@db.actor(queue="accounts", retry=3, ordering_key="account:{account}")
async def post(account: str, amount: int) -> int:
    """Add an entry to an account; returns the new balance."""
    last = await run_node("EntryListNode", {"filter": {"account": account}, "limit": 1})
    balance = sum(entry["balance"] for entry in last["records"]) + amount
    await run_node("EntryCreateNode", {"account": account, "amount": amount, "balance": balance})
    return balance


@db.actor
def statement(account: str, entries: list[dict[str, Any]]) -> str:
    """The entries of an account as one line."""
    return f"{account}: {' '.join(str(entry['balance']) for entry in entries)}"


def main() -> None:
    dataflow = Path(sys.executable).with_name("dataflow")
    importable = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    worker = subprocess.Popen(
        [dataflow, "worker", "ordered_actors:db", "--queues", "accounts"],
        env={**os.environ, "PYTHONPATH": importable, "REDIS_URL": asyncio.run(db.broker.url())},
    )
    try:
        jobs = [post.send(account, amount=10) for _ in range(5) for account in ("Ada", "Alan")]
        for job in jobs:
            job.wait(timeout=60)
        print("balances:", [job.result for job in jobs])
    finally:
        worker.terminate()
        worker.wait(30)

    workflow = WorkflowBuilder()
    workflow.add_node("EntryListNode", "entries", {"filter": {"account": "Ada"}, "sort": ["id"]})
    workflow.add_node("statement", "line", {"account": "Ada"})
    workflow.add_connection("entries", "records", "line", "entries")
    results, _ = LocalRuntime().execute(workflow.build())
    print(results["line"]["result"])
    db.close()


if __name__ == "__main__":
    main()
