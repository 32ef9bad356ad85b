"""Measuring two ways of doing one thing, side by side.

Both sides take turns in one process on one server, round by round, so that what else the machine does hits both; the
result is the median of the rounds' ratios, never a comparison of two runs.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Call = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the table. Rates are units (calls, or rows) per second."""

    what: str
    raw: float
    ours: float
    ratio: float
    budget: float | None

    @property
    def met(self) -> bool | None:
        return None if self.budget is None else self.ratio >= self.budget


async def compare(
    what: str,
    raw: Call,
    ours: Call,
    *,
    calls: int,
    concurrency: int = 1,
    units: int = 1,
    rounds: int = 7,
    budget: float | None = None,
    before: Callable[[], Awaitable[None]] | None = None,
) -> Comparison:
    """Time ``calls`` calls of each side per round; a call gets a number no other call of its side gets.

    Args:
        what: Label.
        raw: The hand-written side.
        ours: The node.
        calls: Calls per round and side.
        concurrency: Calls under way at once.
        units: What one call counts for (rows of a bulk call).
        rounds: Rounds after one that warms up.
        budget: The least ratio ours / raw that the design asks for.
        before: Prepares each side's turn, untimed.
    """
    ratios, raw_rates, our_rates = [], [], []
    for turn in range(rounds + 1):
        rates = {}
        sides = (("raw", raw), ("ours", ours)) if turn % 2 else (("ours", ours), ("raw", raw))
        for name, call in sides:
            if before is not None:
                await before()
            rates[name] = calls * units / await _time(call, turn * calls, calls, concurrency)
        if turn:
            ratios.append(rates["ours"] / rates["raw"])
            raw_rates.append(rates["raw"])
            our_rates.append(rates["ours"])
    return Comparison(
        what, statistics.median(raw_rates), statistics.median(our_rates), statistics.median(ratios), budget
    )


async def _time(call: Call, first: int, calls: int, concurrency: int) -> float:
    numbers = iter(range(first, first + calls))

    async def work() -> None:
        for number in numbers:
            await call(number)

    gc.collect()
    started = time.perf_counter()
    if concurrency == 1:
        await work()
    else:
        await asyncio.gather(*(work() for _ in range(concurrency)))
    return time.perf_counter() - started
