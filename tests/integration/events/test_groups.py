"""Groups: each event to one process, taken over from those that die, given up after some deliveries, put back."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import pytest

from dataflow.errors import EventError, MissedEventsError
from dataflow.events.envelope import entry_id
from dataflow.events.trimming import Trimmer
from dataflow.jobs import keys
from tests.integration.events.stage import Stage, given


async def nothing(reader: object) -> None:
    """Nothing comes; returns soon, and leaves the reader usable."""
    with pytest.raises(TimeoutError):
        await given(reader, 1, 0.3)  # type: ignore[arg-type]


async def pending(stage: Stage, stream: str = "items") -> int:
    client = await stage.app.broker.client()
    return int((await client.xpending(keys.events("stage", stream), "g"))["pending"])


async def test_each_event_is_given_to_one_process_of_a_group(stage: Stage) -> None:
    members = [stage.read("Item", "@paid", group="g", since="start") for _ in range(3)]
    seen: Counter[int] = Counter()
    done = asyncio.Event()

    async def work(number: int) -> None:
        async for event in members[number]:
            assert event.after is not None
            seen[event.after["id"]] += 1
            if seen.total() == 60:
                done.set()

    tasks = [asyncio.create_task(work(number)) for number in range(3)]
    for number in range(60):
        await stage.publish(("@paid" if number % 2 else "items", number))
    async with asyncio.timeout(10):
        await done.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert seen == dict.fromkeys(range(60), 1)


async def test_a_new_group_begins_now_and_goes_on_where_it_was(stage: Stage) -> None:
    await stage.items(1)
    first = stage.read("Item", group="g")
    await nothing(first)
    await stage.items(2, 3)
    assert await given(first, 1) == [2]
    await first.done()
    await first.aclose()
    # What was done stays so; since is only for a group that is new.
    assert await given(stage.read("Item", group="g", since="start"), 1) == [3]


async def test_what_is_not_taken_is_done_at_once(stage: Stage) -> None:
    reader = stage.read("Item", group="g", since="start", filter={"id": {"$gt": 3}})
    await stage.items(1, 2, 3, 4)
    assert await given(reader, 1) == [4]
    await reader.done()
    assert await pending(stage) == 0


async def test_an_event_whose_handling_fails_comes_again(stage: Stage) -> None:
    await stage.items(1, 2)
    reader = stage.read("Item", group="g", since="start", idle=0.1)

    async def handle() -> None:
        async for _ in reader:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await handle()
    seen = []
    async for event in reader:
        assert event.after is not None
        seen.append(event.after["id"])
        if len(seen) == 2:
            break
    assert sorted(seen) == [1, 2]


async def test_what_a_living_process_holds_stays_its_own(stage: Stage) -> None:
    await stage.items(1)
    slow = stage.read("Item", group="g", since="start", idle=0.2)
    assert await given(slow, 1) == [1]
    other = stage.read("Item", group="g", idle=0.2)
    with pytest.raises(TimeoutError):
        await given(other, 1, 1.0)


async def test_another_process_takes_over_what_a_killed_one_held(stage: Stage, redis_url: str) -> None:
    await stage.items(*range(6))
    member = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.events.group_member", redis_url, "3", stdout=asyncio.subprocess.PIPE
    )
    assert member.stdout is not None
    async with asyncio.timeout(20):
        printed = [int(await member.stdout.readline()) for _ in range(4)]
    assert printed == [0, 1, 2, 3]
    other = stage.read("Item", group="g", idle=0.5)
    assert await given(other, 2) == [4, 5], "the one that hangs keeps what it is at, and no more"
    member.kill()
    await member.wait()
    assert await given(other, 1) == [3]
    await other.done()
    assert await pending(stage) == 0


async def test_who_leaves_takes_nothing_along(stage: Stage) -> None:
    await stage.items(1, 2)
    leaver = stage.read("Item", group="g", since="start", idle=0.1)
    assert await given(leaver, 1) == [1]
    await leaver.aclose()
    assert await given(leaver, 1) == [2], "the first is pending still"
    await leaver.done()
    await leaver.aclose()
    assert await pending(stage) == 1
    other = stage.read("Item", group="g", idle=0.1)
    assert await given(other, 1) == [1]
    await other.done()
    await other.aclose()
    client = await stage.app.broker.client()
    left = await client.xinfo_consumers(keys.events("stage", "items"), "g")
    assert [one["pending"] for one in left] == [0], "the first process; the second is forgotten"


async def test_an_event_that_is_never_done_becomes_a_dead_letter_and_can_be_put_back(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await stage.items(1)
    for _ in range(2):
        async with stage.read("Item", group="g", since="start", idle=0.05, attempts=2) as reader:
            assert await given(reader, 1) == [1]
    reader = stage.read("Item", group="g", idle=0.05, attempts=2)
    await stage.items(2)
    assert await given(reader, 1) == [2]
    await nothing(reader)
    assert await pending(stage) == 0
    [letter] = await stage.app.dead_events.list()
    assert (letter.stream, letter.id, letter.reader, letter.deliveries) == ("items", ids[0], "group:g", 2)
    assert letter.reason == "It was delivered 2 times, and never done."
    assert "gives up the event" in caplog.text
    assert (await stage.app.dead_events.retry(letter.key)).id == ids[0]
    assert await stage.app.dead_events.list() == []
    assert await given(reader, 1) == [1]
    await reader.done()
    with pytest.raises(EventError, match="no dead letter"):
        await stage.app.dead_events.retry(letter.key)


async def test_what_is_no_event_becomes_a_dead_letter(stage: Stage) -> None:
    client = await stage.app.broker.client()
    await client.xadd(keys.events("stage", "items"), {"event": "{}"}, id=entry_id(1, 5, 0))
    await stage.items(1)
    assert await given(stage.read("Item", group="g", since="start"), 1) == [1]
    [letter] = await stage.app.dead_events.list()
    assert "is no event" in letter.reason
    await client.delete(keys.events("stage", "items"))
    with pytest.raises(EventError, match="not in the stream"):
        await stage.app.dead_events.retry(letter.key)


async def test_events_that_were_removed_before_a_group_had_done_them_are_told_once(stage: Stage) -> None:
    reader = stage.read("Item", group="g", since="start")
    await stage.items(0)
    assert await given(reader, 1) == [0]
    await reader.done()
    await stage.items(*range(1, 10))
    await Trimmer(max_length=6).trim(stage.publisher)
    assert await stage.length("items") == 9, "the group is waited for"
    await Trimmer(max_length=3).trim(stage.publisher)
    assert await stage.length("items") == 3
    with pytest.raises(MissedEventsError, match="before the group g had done them.*items up to"):
        await reader.next()
    assert await given(reader, 3) == [7, 8, 9]


async def test_a_group_that_redis_forgot_is_told_and_made_anew(stage: Stage) -> None:
    reader = stage.read("Item", group="g", since="start")
    await stage.items(1, 2)
    assert await given(reader, 1) == [1]
    client = await stage.app.broker.client()
    await client.xgroup_destroy(keys.events("stage", "items"), "g")
    with pytest.raises(MissedEventsError, match="does not know the group g"):
        await reader.next()
    assert await given(reader, 1) == [2]


async def test_a_replaced_log_is_told_to_a_group(stage: Stage) -> None:
    reader = stage.read("Item", group="g", since="start")
    await stage.items(1)
    assert await given(reader, 1) == [1]
    stage.epoch, stage.position = 2, 0
    await stage.items(2)
    with pytest.raises(MissedEventsError, match="epoch 2"):
        await reader.next()
    assert await given(reader, 1) == [2]
