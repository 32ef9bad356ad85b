"""GuardedDatabase: a database that a guard watches, such as a circuit breaker."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from dataflow.databases.interface import Guard, Transaction
from dataflow.databases.sessions import Runner
from dataflow.errors import DatabaseUnavailableError, PoolTimeoutError

#: Errors that say that the database does not answer; with any other it has.
OUTAGES = (DatabaseUnavailableError, PoolTimeoutError)


class Unguarded:
    """Lets everything through."""

    name = ""
    troubled = False
    retry_after = 0.0

    async def enter(self) -> int:
        return 0

    async def leave(self, probe: int, error: BaseException | None = None) -> None:
        pass


class GuardedDatabase(Runner):
    """Statements and transactions, as far as the guard lets them through."""

    masked_url: str
    guard: Guard = Unguarded()

    @abstractmethod
    def _call(self, name: str, *args: Any) -> Coroutine[Any, Any, Any]:
        """``_run`` without the guard."""

    @abstractmethod
    def _scope(self, settings: Mapping[str, str] | None) -> AbstractAsyncContextManager[Transaction]:
        """``transaction`` without the guard."""

    async def _run(self, name: str, *args: Any) -> Any:
        if self.guard.troubled:
            return await self._run_watched(name, *args)
        try:
            return await self._call(name, *args)
        except OUTAGES as error:
            await self.guard.leave(0, error)
            raise

    async def _run_watched(self, name: str, *args: Any) -> Any:
        probe = await self.guard.enter()
        try:
            result = await self._call(name, *args)
        except BaseException as error:
            await self.guard.leave(probe, error)
            raise
        await self.guard.leave(probe)
        return result

    def transaction(self, settings: Mapping[str, str] | None = None) -> AbstractAsyncContextManager[Transaction]:
        return _GuardedScope(self.guard, self.masked_url, self._scope(settings))


class _GuardedScope:
    """``async with database.transaction()``. It asks once, at the start, and the whole block is one call."""

    def __init__(self, guard: Guard, url: str, scope: AbstractAsyncContextManager[Transaction]) -> None:
        self._guard = guard
        self._url = url
        self._scope = scope
        self._probe = 0

    async def __aenter__(self) -> Transaction:
        if self._guard.troubled:
            self._probe = await self._guard.enter()
        try:
            return await self._scope.__aenter__()
        except BaseException as error:
            await self._leave(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._scope.__aexit__(kind, error, traceback)
        except BaseException as failure:
            await self._leave(failure)
            raise
        # What the block raises may be about another database.
        ours = not isinstance(error, OUTAGES) or error.context.get("url") == self._url
        await self._leave(error if ours else None)

    async def _leave(self, error: BaseException | None) -> None:
        if self._probe or self._guard.troubled or isinstance(error, OUTAGES):
            await self._guard.leave(self._probe, error)
