"""The quick-start of the first guide: a model, its nodes, a workflow, one run.

Run it: python examples/quickstart.py
"""

from dataflow import DataFlow, LocalRuntime, WorkflowBuilder

# 1. Zero-config initialization: DATABASE_URL, else the SQLite file dataflow.db
db = DataFlow()


# 2. Define a model - its nodes exist from here on
@db.model
class User:
    name: str
    email: str
    active: bool = True


# 3. Use generated nodes immediately
workflow = WorkflowBuilder()
workflow.add_node("UserCreateNode", "create", {"name": "Alice", "email": "alice@example.com"})
workflow.add_node("UserListNode", "list", {"filter": {"active": True}})
workflow.add_connection("create", "result", "list", "input")

# 4. Execute
runtime = LocalRuntime()
results, run_id = runtime.execute(workflow.build())

print(results["create"])
