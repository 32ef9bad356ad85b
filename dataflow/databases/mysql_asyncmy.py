"""asyncmy: the protocol in C, so that reading rows is several times faster. Imports only where it is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Self

from asyncmy.connection import Connection
from asyncmy.constants.CLIENT import DEPRECATE_EOF
from asyncmy.errors import MySQLError

from dataflow.databases.mysql_session import MySQLSession
from dataflow.databases.transports import close_orphan


class AsyncmySession(MySQLSession):
    """An asyncmy connection."""

    driver_error = MySQLError

    @classmethod
    async def open(cls, kill: Callable[[int], Coroutine[Any, Any, None]], **arguments: Any) -> Self:
        if arguments["charset"] == "utf8mb3":
            # asyncmy knows it by its older name only.
            arguments["charset"] = "utf8"
        connection = _Connection(**arguments)
        # Closes itself where it fails.
        await connection.connect()
        return cls(connection, kill)

    def is_closed(self) -> bool:
        return bool(self._connection._stream_broken)

    def terminate(self) -> None:
        connection = self._connection
        # A cancelled call has lost the connection's own reference to a transport that may still have to write.
        transport = connection._proto.transport
        connection._transport = None
        connection._connected = False
        if transport is not None:
            # With its loop closed asyncio closes all but the socket, and then cannot schedule the rest.
            with contextlib.suppress(RuntimeError):
                transport.abort()
            close_orphan(transport)


class _Connection(Connection):  # type: ignore[misc]
    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        # Where results may end without an EOF packet, asyncmy takes a row whose first value has 16 MB for the end.
        self.server_capabilities &= ~DEPRECATE_EOF
