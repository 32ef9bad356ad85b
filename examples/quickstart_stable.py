"""The quick-start of the newer guide: text ids, filter and fields in an update, the asynchronous runtime.

Run it: python examples/quickstart_stable.py
"""

import asyncio
from uuid import uuid4

from dataflow import AsyncLocalRuntime, DataFlow, WorkflowBuilder

db = DataFlow(auto_migrate=True)


@db.model
class SsoSession:
    id: str  # String IDs preserved throughout the workflow
    user_id: str
    state: str = "active"


async def main() -> None:
    session_id = f"session-{uuid4()}"
    workflow = WorkflowBuilder()
    workflow.add_node("SsoSessionCreateNode", "create", {"id": session_id, "user_id": "user-001"})
    workflow.add_node("SsoSessionUpdateNode", "update", {"filter": {"id": session_id}, "fields": {"state": "closed"}})
    workflow.add_node("SsoSessionReadNode", "read", {"filter": {"id": session_id}, "raise_on_not_found": True})
    workflow.add_connection("create", "result", "update", "input")
    workflow.add_connection("update", "result", "read", "input")

    runtime = AsyncLocalRuntime(execution_timeout=60)
    results, _ = await runtime.execute_workflow_async(workflow.build(), inputs={})
    print(results["create"])
    print(results["read"]["state"])
    await db.close_async()


asyncio.run(main())
