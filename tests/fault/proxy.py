"""A TCP proxy between a worker and Redis that loses replies, or everything, when told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import redis

from dataflow.jobs.scripts import Script


class Proxy:
    """Listens on a free port and relays to a server.

    Args:
        upstream: URL of the server.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = upstream
        self._address = (parts.hostname, parts.port)
        self._path = parts.path
        self._watched = b""
        self._hangs = False
        self._silent = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server
        #: Set when the reply to a watched script has been lost; the server has run it then.
        self.lost = asyncio.Event()

    @property
    def url(self) -> str:
        """What a worker is told instead of the server's URL."""
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"

    def lose_reply(self, script: Script, *, hang: bool = False) -> None:
        """Lose the reply to the next call of a script: the connection is cut, or hangs for ever."""
        with redis.Redis.from_url(self._upstream) as client:
            client.script_load(script.text)  # so that the call names its hash
        self.lost.clear()
        self._watched, self._hangs = script.sha.encode(), hang

    def partition(self) -> None:
        """Let nothing through any more, in either direction; connections stay as they are."""
        self._silent = True

    def heal(self) -> None:
        """Let everything through again; connections that were cut off are gone."""
        self._silent = False
        for writer in self._writers:
            writer.close()

    def switch(self, upstream: str) -> None:
        """Relay to another server from now on, as after a failover; connections to the former are cut."""
        parts = urlsplit(upstream)
        self._address = (parts.hostname, parts.port)
        self.heal()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Proxy]:
        """Listen while the block runs."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            self.heal()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            there, back = await asyncio.open_connection(*self._address)
            self._writers |= {writer, back}
            seen = asyncio.Event()
            relays = [
                asyncio.create_task(self._requests(reader, back, seen)),
                asyncio.create_task(self._replies(there, writer, seen)),
            ]
            await asyncio.wait(relays, return_when=asyncio.FIRST_COMPLETED)
            for relay in relays:
                relay.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
            self._writers -= {writer, back}
            back.close()

    async def _requests(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, seen: asyncio.Event) -> None:
        while data := await source.read(1 << 16):
            if self._silent:
                continue
            if self._watched and self._watched in data:
                self._watched = b""
                seen.set()
            target.write(data)
            await target.drain()

    async def _replies(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, seen: asyncio.Event) -> None:
        while data := await source.read(1 << 16):
            if seen.is_set():
                self.lost.set()
                if self._hangs:
                    await asyncio.Event().wait()
                return
            if not self._silent:
                target.write(data)
                await target.drain()


@asynccontextmanager
async def proxied(upstream: str) -> AsyncIterator[Proxy]:
    """A proxy before a server."""
    async with Proxy(upstream).serving() as proxy:
        yield proxy
