"""EventSourceNode: events as data of a workflow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dataflow.errors import InputError, MissedEventsError
from dataflow.events.trimming import Trimmer
from dataflow.jobs import keys
from dataflow.nodes.interface import RunContext
from tests.integration.events.stage import Stage


async def read(stage: Stage, run: str = "r1", **parameters: Any) -> dict[str, Any]:
    return await stage.app.nodes["EventSourceNode"].run({"table": "items", **parameters}, RunContext(run, "source"))


def numbers(found: dict[str, Any]) -> list[int]:
    assert found["count"] == len(found["events"])
    return [event["after"]["id"] for event in found["events"]]


async def test_what_is_there_is_given(stage: Stage) -> None:
    ids = await stage.items(1, 2, 3)
    found = await read(stage, event_types=["INSERT", "UPDATE"])
    assert numbers(found) == [1, 2, 3]
    assert found["events"][0]["source"]["model"] == "Item"
    assert found["cursor"] == ids[2]
    assert numbers(await read(stage, event_types=["DELETE"])) == []
    assert numbers(await read(stage, limit=2)) == [1, 2]
    assert numbers(await read(stage, filter={"id": {"$gt": 1}}, limit=1)) == [2]
    assert numbers(await read(stage, since=ids[0])) == [2, 3]
    assert numbers(await read(stage, since="now")) == []
    assert numbers(await read(stage, since=60)) == [1, 2, 3]
    assert numbers(await read(stage, since=(datetime.now(UTC) + timedelta(minutes=1)).isoformat())) == []


async def test_messages_of_the_application(stage: Stage) -> None:
    await stage.publish(("@paid", 1), ("items", 2), ("@sent", 3))
    context = RunContext("r", "n")
    found = await stage.app.nodes["EventSourceNode"].run(
        {"source": "application", "event_types": ["paid", "@sent"]}, context
    )
    assert numbers(found) == [1, 3]


async def test_a_run_for_a_tenant_gets_no_events_of_another(stage: Stage) -> None:
    await stage.publish(("items", 1), tenant="acme")
    await stage.publish(("items", 2), tenant="other")
    await stage.items(3)
    context = RunContext("r", "n", tenant_id="acme")
    assert numbers(await stage.app.nodes["EventSourceNode"].run({"table": "items"}, context)) == [1, 3]


async def test_a_reader_goes_on_and_a_run_that_is_run_again_gets_the_same(stage: Stage) -> None:
    ids = await stage.items(1, 2, 3, 4, 5)
    given: dict[str, Any] = {"reader": "billing", "limit": 2}
    assert numbers(await read(stage, "a", **given)) == [1, 2]
    assert numbers(await read(stage, "b", **given)) == [3, 4]
    again = await read(stage, "b", **given)
    assert (numbers(again), again["cursor"]) == ([3, 4], ids[3])
    # What a run may get again is kept.
    await Trimmer(max_length=3).trim(stage.publisher)
    client = await stage.app.broker.client()
    assert [entry_id.decode() for entry_id, _ in await client.xrange(keys.events("stage", "items"))] == ids[2:]
    assert numbers(await read(stage, "b", **given)) == [3, 4]
    assert numbers(await read(stage, "c", **given)) == [5]
    assert numbers(await read(stage, "d", **given)) == []
    await stage.items(6)
    assert numbers(await read(stage, "e", **given)) == [6]
    assert numbers(await read(stage, "x", reader="late", since="now")) == []
    await stage.items(7)
    assert numbers(await read(stage, "y", reader="late", since="now")) == [7]


async def test_a_reader_that_lost_events_fails_until_it_may_go_on(stage: Stage) -> None:
    await stage.items(1)
    assert numbers(await read(stage, "a", reader="slow")) == [1]
    await stage.items(*range(2, 12))
    await Trimmer(max_length=3).trim(stage.publisher)
    with pytest.raises(MissedEventsError):
        await read(stage, "b", reader="slow")
    assert numbers(await read(stage, "c", reader="slow", on_loss="log")) == [9, 10, 11]
    assert numbers(await read(stage, "d", reader="slow")) == []


@pytest.mark.parametrize(
    "parameters",
    [
        {"source": "application"},
        {"model": "Item"},
        {"table": None},
        {"limit": 0},
        {"wait": -1},
        {"since": "12:99"},
        {"since": "soon"},
        {"reader": "a b"},
        {"event_types": ["INSRT"]},
    ],
)
async def test_what_is_refused(stage: Stage, parameters: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        await read(stage, **parameters)
