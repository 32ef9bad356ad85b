"""Who of a worker's claimed jobs runs, who waits for a turn, and how many more may be claimed."""

from __future__ import annotations

from worker.deliveries import Deliveries, Delivery
from worker.options import WorkerOptions


def delivery(number: int) -> Delivery:
    return Delivery("default", str(number), "e", b"", {})


async def test_a_stuck_thread_keeps_its_slot_from_those_claimed_ahead_until_it_returns() -> None:
    stuck = 0
    held = Deliveries(WorkerOptions(concurrency=2, prefetch=3), lambda: stuck)
    first, second, ahead = (delivery(number) for number in range(3))
    for each in (first, second, ahead):
        held.add(each)
    assert (held.running, held.waiting, held.free) == (2, 1, 2)
    stuck = 1
    held.ended(first)
    assert (held.running, held.waiting, held.free) == (1, 1, 2)
    assert ahead.turn is not None
    assert not ahead.turn.done()
    stuck = 0
    held.slot_freed()
    assert ahead.turn.done()
    assert (held.running, held.waiting, held.free) == (2, 0, 3)


async def test_nothing_is_claimed_ahead_where_all_slots_are_stuck() -> None:
    assert Deliveries(WorkerOptions(concurrency=2, prefetch=3), lambda: 2).free == 0


async def test_one_cancelled_before_its_first_step_gives_up_its_turn() -> None:
    held = Deliveries(WorkerOptions(concurrency=1, prefetch=2))
    running, gone, last = (delivery(number) for number in range(3))
    for each in (running, gone, last):
        held.add(each)
    held.ended(gone)
    held.ended(running)
    assert last.turn is not None
    assert last.turn.done()
    assert (held.running, held.waiting) == (1, 0)
