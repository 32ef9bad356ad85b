"""Clients of Redis whose calls cost little.

redis-py's asynchronous connections read with hiredis and write in Python, where a call with hundreds of arguments, as
our scripts have, takes ten times as long. Its synchronous ones use hiredis for both.

Its pool takes as long as the rest of a call: it counts, measures and checks each time it lends a connection. ``Sender``
keeps connections that have just answered at hand.
"""

from __future__ import annotations

from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import (
    ConnectionError,  # noqa: A004
    DataError,
    ResponseError,
    TimeoutError,  # noqa: A004
)


class _PacksInC(AbstractConnection):
    def pack_command(self, *args: Any) -> list[bytes]:
        # Names of commands may be two words: CONFIG GET.
        name = args[0].encode() if isinstance(args[0], str) else args[0]
        try:
            return [hiredis.pack_command((*name.split(), *args[1:]))]
        except TypeError as error:
            raise DataError(f"An argument of {name.decode()} is not text, bytes or a number: {error}") from error


class _TCP(_PacksInC, Connection):
    pass


class _TLS(_PacksInC, SSLConnection):
    pass


class _Unix(_PacksInC, UnixDomainSocketConnection):
    pass


_KINDS: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _TCP,
    SSLConnection: _TLS,
    UnixDomainSocketConnection: _Unix,
}


class Sender(Redis):
    """A client that sends a command again when its connection breaks, as often as its ``retry`` says."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: list[AbstractConnection] = []

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command; what it raises, and when it is sent again, is redis-py's affair."""
        pool: Any = self.connection_pool
        connection: Any = self._idle.pop() if self._idle else await pool.get_connection()
        try:
            await connection.send_command(*args)
            answer = await self.parse_response(connection, args[0], **options)
        except ResponseError:
            self._idle.append(connection)  # an answer like others
            raise
        except (ConnectionError, TimeoutError, OSError):
            # The server may have closed it while it was idle.
            await self._let_go(connection)
            again: Any = super().execute_command
            return await again(*args, **options)
        except BaseException:
            await self._let_go(connection)
            raise
        self._idle.append(connection)
        return answer

    async def _let_go(self, connection: AbstractConnection) -> None:
        """Give a connection back on which an answer may still be to come."""
        await connection.disconnect(nowait=True)
        await self.connection_pool.release(connection)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections."""
        self._idle.clear()
        await super().aclose(close_connection_pool)


def client_of(url: str, *, sends_again: bool, **options: Any) -> Redis:
    """``Redis.from_url`` with such connections; a Sender where commands may be sent again."""
    client: Redis = (Sender if sends_again else Redis).from_url(url, **options)
    pool = client.connection_pool
    pool.connection_class = _KINDS[pool.connection_class]
    return client
