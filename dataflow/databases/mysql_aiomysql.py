"""aiomysql: pure Python, and always there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from datetime import date, datetime
from typing import Any, Self

import aiomysql
from pymysql.constants import FIELD_TYPE
from pymysql.converters import convert_date, convert_datetime, decoders
from pymysql.err import MySQLError, OperationalError

from dataflow.databases.mysql_errors import NO_TLS
from dataflow.databases.mysql_session import MySQLSession
from dataflow.databases.transports import close_orphan


class AiomysqlSession(MySQLSession):
    """An aiomysql connection."""

    driver_error = MySQLError

    @classmethod
    async def open(cls, kill: Callable[[int], Coroutine[Any, Any, None]], **arguments: Any) -> Self:
        connection = aiomysql.Connection(conv=_DECODERS, **arguments)
        try:
            await connection._connect()
            if arguments["ssl"] and not connection._secure:
                # aiomysql then goes on in plain text.
                raise OperationalError(NO_TLS, "the server offers no TLS")
        except BaseException:
            connection.close()
            raise
        return cls(connection, kill)

    def is_closed(self) -> bool:
        # Like aiomysql's own pool: a reader at its end is a server that hung up.
        connection = self._connection
        return connection._writer is None or connection._reader._eof_received or connection._writer.is_closing()

    def terminate(self) -> None:
        writer = self._connection._writer
        if writer is None:
            return
        # With its loop closed asyncio closes all but the socket, and then cannot schedule the rest.
        with contextlib.suppress(RuntimeError):
            writer.transport.abort()
        close_orphan(writer.transport)
        self._connection._writer = self._connection._reader = None


def _datetime(text: str) -> datetime | str | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        converted: datetime | str | None = convert_datetime(text)
        return converted


def _date(text: str) -> date | str | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        converted: date | str | None = convert_date(text)
        return converted


#: PyMySQL's, with a faster way for well-formed dates.
_DECODERS = {**decoders, FIELD_TYPE.DATETIME: _datetime, FIELD_TYPE.TIMESTAMP: _datetime, FIELD_TYPE.DATE: _date}
