"""EventTriggerNode and EventProcessorNode, and dead letters that are tried again."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow import AsyncLocalRuntime, DataFlow, WorkflowBuilder, WorkflowExecutionError
from dataflow.events.envelope import Op, event_inputs
from dataflow.jobs import keys
from tests.integration.triggers.conftest import Scheduling, event_of_order, order, queued, tell, until


async def run(node: str, parameters: dict[str, Any], *, node_id: str = "it") -> dict[str, Any]:
    workflow = WorkflowBuilder()
    workflow.add_node(node, node_id, parameters)
    results, _ = await AsyncLocalRuntime().execute_workflow_async(workflow.build())
    return dict(results[node_id])


async def test_a_trigger_node_has_a_workflow_started_from_now_on(db: DataFlow, scheduling: Scheduling) -> None:
    parameters = {
        "table": "orders", "operations": ["INSERT"], "filter": {"status": "open"}, "workflow_id": "fulfil",
        "inputs": {"order_id": "after.id"},
    }  # fmt: skip
    async with scheduling(db):
        for _ in range(2):
            found = await run("EventTriggerNode", parameters, node_id="order_processor")
            assert found == {"trigger": "order_processor", "registered": True, "job_id": None, "result": None}
        first, second = (event_of_order(db, Op.CREATE, None, order(n, status)) for n, status in ((1, "x"), (2, "open")))
        await tell(db, first, second)
        assert await queued(db, 1) == [f"shop-order__processor-orders-{second.id}"]
        await run("EventTriggerNode", parameters | {"filter": {"status": "x"}}, node_id="order_processor")
        third = event_of_order(db, Op.CREATE, None, order(3, "x"))
        await tell(db, third)
        assert (await queued(db, 2))[-1].endswith(third.id)


async def test_a_trigger_node_starts_a_workflow_for_the_event_that_it_is_given(db: DataFlow) -> None:
    event = event_inputs(event_of_order(db, Op.CREATE, None, order(7)))
    given = {"event": event, "workflow_id": "fulfil", "inputs": {"order_id": "after.id"}}
    first, again = [await run("EventTriggerNode", given) for _ in range(2)]
    assert first["job_id"] == again["job_id"] == f"shop-it-orders-{event['id']}"
    await queued(db, 1)
    assert (await run("EventTriggerNode", given | {"async_execution": False}))["result"] == {"fulfil": {"result": 7}}
    other = await run("EventTriggerNode", given | {"filter": {"status": "completed"}})
    assert (other["job_id"], other["result"]) == (None, None)


async def test_a_processor_node_starts_a_workflow_for_each_event_once(db: DataFlow) -> None:
    statuses = ("open", "completed", "completed")
    events = [
        event_inputs(event_of_order(db, Op.CREATE, None, order(number, status)))
        for number, status in enumerate(statuses)
    ]
    given = {
        "events": events, "event_filter": {"status": "completed"}, "target_workflow": "fulfil",
        "inputs": {"order_id": "after.id"},
    }  # fmt: skip
    for _ in range(2):
        found = await run("EventProcessorNode", given)
        assert found["jobs"] == [f"shop-it-orders-{event['id']}" for event in events[1:]]
        assert (found["processed"], found["skipped"]) == (2, 1)
    await queued(db, 2)
    found = await run("EventProcessorNode", given | {"async_execution": False})
    assert [item["fulfil"]["result"] for item in found["results"]] == [1, 2]


@pytest.mark.parametrize(
    ("node", "parameters", "problem"),
    [
        ("EventTriggerNode", {"workflow_id": "fulfil"}, "needs an event_type"),
        ("EventTriggerNode", {"workflow_id": "fulfil", "table": "orders", "model": "Order"}, "one of"),
        ("EventTriggerNode", {"workflow_id": "fulfl", "table": "orders"}, "Did you mean 'fulfil'"),
        ("EventTriggerNode", {"workflow_id": "fulfil", "table": "orders", "async_execution": False}, "needs the event"),
        ("EventProcessorNode", {"target_workflow": "fulfil"}, "no events"),
        ("EventProcessorNode", {"target_workflow": "fulfil", "events": [{"op": "c"}]}, "no event"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    db: DataFlow, node: str, parameters: dict[str, Any], problem: str
) -> None:
    with pytest.raises(WorkflowExecutionError, match=problem):
        await run(node, parameters)


async def test_a_dead_letter_is_tried_again_by_its_trigger(db: DataFlow, scheduling: Scheduling) -> None:
    await db.triggers.add_async("t", "fulfil", "Order", inputs={"order_id": "after.id"})
    async with scheduling(db):
        deleted = event_of_order(db, Op.DELETE, order(9), None)
        await tell(db, deleted)
        (letter,) = await until(db.dead_events.list)
        assert (letter.reader, letter.id, letter.deliveries) == ("trigger:t", deleted.id, 1)
        await db.triggers.add_async("t", "fulfil", "Order", inputs={"order_id": "row.id"}, replace=True)
        await db.dead_events.retry(letter.key)
        assert await queued(db, 1) == [f"shop-t-orders-{deleted.id}"]
        assert await db.dead_events.list() == []


async def test_events_that_were_removed_before_a_trigger_had_done_them_are_told(
    db: DataFlow, scheduling: Scheduling, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (event_of_order(db, Op.CREATE, None, order(n)) for n in (1, 2))
    await tell(db, first)
    await db.triggers.add_async("t", "fulfil", "Order", inputs={"order_id": "row.id"})
    client = await db.broker.client()
    await client.delete(keys.events("shop", "orders"))
    await client.hset(keys.events_trimmed("shop"), "orders", second.id)  # type: ignore[misc]
    async with scheduling(db):
        await tell(db, event_of_order(db, Op.CREATE, None, order(3)))
        await queued(db, 1)
    assert f"events of orders up to {second.id} were removed before it had done them" in caplog.text
