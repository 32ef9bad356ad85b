"""Exporter: answers Prometheus over HTTP, with nothing but asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from dataflow.errors import BrokerUnavailableError, ConfigurationError
from dataflow.jobs.prometheus import CONTENT_TYPE

#: Seconds that a client has to send its request.
_PATIENCE = 5.0
#: Lines of a request that are read.
_MOST_LINES = 100


class Exporter:
    """Serves ``GET /metrics``.

    Args:
        collect: Gives the text.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
    """

    def __init__(self, collect: Callable[[], Awaitable[str]], host: str, port: int) -> None:
        self._collect = collect
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; returns the port.

        Raises:
            ConfigurationError: The address cannot be used.
        """
        try:
            self._server = await asyncio.start_server(self._serve, self._host, self._port)
        except OSError as error:
            raise ConfigurationError(f"Cannot serve metrics at {self._host}:{self._port}: {error}.") from error
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Who hangs up or sends no request gets no answer.
        with contextlib.suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_PATIENCE):
                request = await reader.readline()
                for _ in range(_MOST_LINES):
                    if (await reader.readline()).strip() == b"":
                        break
            writer.write(await self._answer(request))
            await writer.drain()
        writer.close()

    async def _answer(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b" ")
        path = rest.split(b" ")[0].split(b"?")[0]
        if method != b"GET" or path != b"/metrics":
            return _response("404 Not Found", "There is only GET /metrics.\n")
        try:
            return _response("200 OK", await self._collect())
        except BrokerUnavailableError as error:
            return _response("503 Service Unavailable", f"{error}\n")


def _response(status: str, text: str) -> bytes:
    body = text.encode()
    kind = CONTENT_TYPE if status.startswith("200") else "text/plain; charset=utf-8"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
