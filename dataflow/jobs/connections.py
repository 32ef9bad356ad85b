"""Connections to Redis that write their commands in C.

redis-py's asynchronous connections read with hiredis and write in Python, where a call with hundreds of arguments, as
our scripts have, takes ten times as long. Its synchronous ones use hiredis for both.
"""

from __future__ import annotations

from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import DataError


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


def client_of(url: str, **options: Any) -> Redis:
    """``Redis.from_url`` with such connections."""
    client = Redis.from_url(url, **options)
    pool = client.connection_pool
    pool.connection_class = _KINDS[pool.connection_class]
    return client
