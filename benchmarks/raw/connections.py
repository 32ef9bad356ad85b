"""Connections of the hand-written side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class Connections:
    """Open connections, handed out in turn."""

    def __init__(self, connections: list[Any]) -> None:
        self.all = connections
        self.free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for connection in connections:
            self.free.put_nowait(connection)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Any]:
        connection = await self.free.get()
        try:
            yield connection
        finally:
            self.free.put_nowait(connection)
