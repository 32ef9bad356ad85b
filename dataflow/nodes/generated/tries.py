"""Tries of a transaction that others were in the way of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dataflow.errors import DataFlowError

Result = TypeVar("Result")

#: Tries in all.
ATTEMPTS = 5
#: Seconds, at most, before the second try; each further pause may be twice as long.
LONGEST_PAUSE = 0.02


async def tried_again(work: Callable[[], Awaitable[Result]], may_help: Callable[[DataFlowError], bool]) -> Result:
    """Await ``work()``, and again after an error that ``may_help`` says another try may mend.

    A pause is random, from nothing on ("full jitter"): those who met do not meet again.

    Raises:
        DataFlowError: That of the last try.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return await work()
        except DataFlowError as error:
            if not may_help(error):
                raise
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE * 2**attempt))
    return await work()
