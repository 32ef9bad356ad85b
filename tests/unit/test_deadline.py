"""Deadlines: whose cancellation it was."""

import asyncio

import pytest

from dataflow.resilience import Deadline


async def within(seconds: float, work: asyncio.Event) -> str:
    deadline = Deadline(seconds)
    try:
        await work.wait()
    except BaseException as error:
        if deadline.end() and isinstance(error, asyncio.CancelledError):
            return "too late"
        raise
    assert deadline.end() is False
    return "in time"


async def test_work_that_ends_in_time_leaves_no_timer_behind() -> None:
    done = asyncio.Event()
    done.set()
    assert await within(0.01, done) == "in time"
    await asyncio.sleep(0.05)  # a timer that still ran would cancel this


async def test_the_time_is_over() -> None:
    assert await within(0.01, asyncio.Event()) == "too late"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_outside_is_passed_on() -> None:
    task = asyncio.create_task(within(60, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_outside_at_the_same_moment_is_passed_on() -> None:
    ended: list[bool] = []

    async def both() -> None:
        deadline = Deadline(0)
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.Event().wait()
        finally:
            task.cancel()
            ended.append(deadline.end())

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(both())
    assert ended == [False]


async def test_an_inner_deadline_does_not_end_the_outer_one() -> None:
    outer = Deadline(60)
    assert await within(0.01, asyncio.Event()) == "too late"
    assert outer.end() is False


async def test_deadlines_of_one_loop_pass_in_order_of_their_times() -> None:
    passed: list[float] = []

    async def until(seconds: float) -> None:
        assert await within(seconds, asyncio.Event()) == "too late"
        passed.append(seconds)

    # The one timer is set, set nearer, left alone, and set again when it rings.
    await asyncio.gather(*(until(seconds) for seconds in (0.05, 0.01, 0.03)))
    assert passed == [0.01, 0.03, 0.05]


def test_each_loop_has_a_clock_of_its_own() -> None:
    async def leave_one_running() -> None:
        Deadline(60)

    async def expire() -> str:
        return await within(0.01, asyncio.Event())

    # The first loop takes its clock, which was to ring, to its grave.
    asyncio.run(leave_one_running())
    assert asyncio.run(expire()) == "too late"
