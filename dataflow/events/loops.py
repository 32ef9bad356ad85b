"""Looped: what is read one by one, by ``async for`` or by ``next()``: events, and deliveries of an inbox."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Looped(ABC, Generic[T]):
    """Gives things without end, to one loop or caller at a time."""

    #: The loop that reads; None where somebody calls ``next``.
    _loop: object | None = None

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        """All that comes, without end; it disconnects when the loop ends, however it does."""
        self._loop = loop = object()
        await self.aclose()  # a loop before this one may have been left in the middle
        try:
            while True:
                yield await self._next()
        finally:
            # Python comes here some time after the loop was left: this may be in use again.
            if self._loop is loop:
                await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def next(self) -> T:
        """The next one; waits until there is one."""
        self._loop = None
        return await self._next()

    @abstractmethod
    async def _next(self) -> T:
        """See ``next``."""

    @abstractmethod
    async def aclose(self) -> None:
        """Disconnect. It goes on where it was, when it is used again."""
