"""Gate: whether a claimed job may run now. What it needs must answer, and one slow database must not hold all slots."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

from dataflow.databases.interface import Guard

#: Seconds that a job waits for its turn on a busy database before it makes room for others.
PATIENCE = 1.0
#: Seconds that a job is away then.
BUSY_PAUSE = 1.0
#: Jobs per second that come back from a deferral. Without it all would come at once, and most would go again.
RETURN_RATE = 500.0
#: Seconds that this may add, at most.
LONGEST_SPREAD = 30.0


class NotNowError(Exception):
    """The job must wait.

    Attributes:
        what: For what.
        wait: How many seconds.
    """

    def __init__(self, what: str, wait: float, reason: str) -> None:
        super().__init__(reason)
        self.what = what
        self.wait = wait


class Bulkhead:
    """A limit to the jobs that run on one database.

    A job over the limit waits, but not for long: it holds a slot of the worker meanwhile. Once one has waited in vain,
    the others do not wait at all, until a job ends.

    Args:
        limit: Jobs that run at once.
        patience: Seconds to wait.
    """

    def __init__(self, limit: int, patience: float = PATIENCE) -> None:
        self.running = 0
        self._limit = limit
        self._patience = patience
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_clogged = False

    async def enter(self) -> bool:
        """Take a turn; False where there is none."""
        if self.running < self._limit:
            self.running += 1
            return True
        if self._is_clogged:
            return False
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait([turn], timeout=self._patience)
        except asyncio.CancelledError:
            if turn.done():
                self.leave()
            raise
        finally:
            if not turn.done():
                self._waiting.remove(turn)
        self._is_clogged = not turn.done()
        return turn.done()

    def leave(self) -> None:
        """Give the turn back."""
        self._is_clogged = False
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self.running -= 1


class Gate:
    """Lets jobs run, or says when to try again.

    Args:
        limit: Jobs of one database that run at once; None for no limit.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._bulkheads: dict[str, Bulkhead] = {}
        #: When the last job that was deferred comes back, by what it waits for.
        self._returns: dict[str, float] = {}

    async def enter(self, guards: Sequence[Guard]) -> list[Bulkhead]:
        """Ask for a job that needs what these guard; ``leave`` must be given what this returns.

        Raises:
            NotNowError: Not now.
        """
        for guard in guards:
            if (wait := guard.retry_after) > 0:
                raise NotNowError(guard.name, wait, f"{guard.name} did not answer lately.")
        entered: list[Bulkhead] = []
        if self._limit is None:
            return entered
        try:
            for guard in guards:
                bulkhead = self._bulkheads.setdefault(guard.name, Bulkhead(self._limit))
                if not await bulkhead.enter():
                    raise NotNowError(guard.name, BUSY_PAUSE, f"Jobs that use {guard.name} hold all slots they may.")
                entered.append(bulkhead)
        except BaseException:
            self.leave(entered)
            raise
        return entered

    def leave(self, entered: Sequence[Bulkhead]) -> None:
        """The job has ended."""
        for bulkhead in entered:
            bulkhead.leave()

    def delay(self, what: str, wait: float) -> float:
        """Seconds after which a job that must wait so long for something comes back: those of many are spread."""
        now = time.monotonic()
        first = now + wait
        due = min(max(first, self._returns.get(what, 0.0) + 1 / RETURN_RATE), first + LONGEST_SPREAD)
        self._returns[what] = due
        return due - now
