"""Measuring several ways of doing one thing, side by side.

The sides take turns in one process on one server, round by round, so that what else the machine does hits all of them;
the result is the median of the rounds' ratios, never a comparison of two runs.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from statistics import median

Call = Callable[[int], Awaitable[object]]

#: Seconds after which a side sits out the rounds that are left, once it has been measured.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the table.

    Attributes:
        what: Label.
        rates: Units (calls, or rows) per second of each side.
        ratios: The same as a share of the first side's.
        budget: The least ratio of the last side that the design asks for.
    """

    what: str
    rates: Mapping[str, float]
    ratios: Mapping[str, float]
    budget: float | None

    @property
    def met(self) -> bool | None:
        return None if self.budget is None else list(self.ratios.values())[-1] >= self.budget


async def compare(
    what: str,
    sides: Mapping[str, Call],
    *,
    calls: int,
    rounds: int,
    concurrency: int = 1,
    units: int = 1,
    budget: float | None = None,
    before: Callable[[], Awaitable[None]],
) -> Comparison:
    """Time ``calls`` calls of each side per round; a call gets a number no other call of its side gets.

    Args:
        what: Label.
        sides: The yardstick first, ours last.
        calls: Calls per round and side.
        rounds: Rounds after one that warms up.
        concurrency: Calls under way at once.
        units: What one call counts for (rows of a bulk call).
        budget: See Comparison.
        before: Prepares each side's turn, untimed.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    ratios: dict[str, list[float]] = {name: [] for name in sides}
    spent = dict.fromkeys(sides, 0.0)
    first = next(iter(sides))
    for turn in range(rounds + 1):
        measured = {}
        for name in rotated(list(sides), turn):
            if spent[name] > PATIENCE and rates[name]:
                continue
            await before()
            seconds = await _time(sides[name], turn * calls, calls, concurrency)
            spent[name] += seconds
            measured[name] = calls * units / seconds
        if turn:
            for name, rate in measured.items():
                rates[name].append(rate)
                ratios[name].append(rate / measured[first])
    return Comparison(
        what,
        {name: median(found) for name, found in rates.items()},
        {name: median(found) for name, found in ratios.items()},
        budget,
    )


def rotated(names: list[str], turn: int) -> list[str]:
    """The names, another one first in each turn."""
    start = turn % len(names)
    return list(islice(chain(names, names), start, start + len(names)))


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
