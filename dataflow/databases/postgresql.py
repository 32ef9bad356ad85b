"""PostgreSQL through asyncpg."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import asyncpg

from dataflow.databases import failures
from dataflow.databases.interface import Arguments, Capabilities, Outcome, Row
from dataflow.databases.options import DatabaseOptions
from dataflow.databases.pooled import Connector
from dataflow.databases.postgresql_errors import is_from_server, may_be_outdated, translate, unreachable_reason
from dataflow.databases.sessions import PooledSession
from dataflow.databases.transports import close_orphan
from dataflow.databases.url import POSTGRESQL_TLS, DatabaseURL
from dataflow.errors import TypeMismatchError

#: An INSERT whose every execution matches exactly one row.
_PLAIN_INSERT = re.compile(r"\s*INSERT\s+INTO\s(?!.*\b(?:ON\s+CONFLICT|SELECT)\b)", re.IGNORECASE | re.DOTALL)


class PostgreSQLSession(PooledSession):
    """An asyncpg connection.

    A statement that asyncpg has prepared already is given to its protocol as it is. What asyncpg does before that, for
    those that have to be prepared first, would be a sixth of the price of a statement.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._protocol = connection._protocol

    async def fetch_all(self, sql: str, args: Arguments) -> list[Row]:
        rows: list[Row]
        prepared = self._prepared(sql)
        if prepared is None:
            rows = await self._connection.fetch(sql, *args)
        else:
            rows = await self._protocol.bind_execute(prepared, args, "", 0, False, None)
        return rows

    async def fetch_one(self, sql: str, args: Arguments) -> Row | None:
        row: Row | None
        prepared = self._prepared(sql)
        if prepared is None:
            row = await self._connection.fetchrow(sql, *args)
        else:
            rows = await self._protocol.bind_execute(prepared, args, "", 1, False, None)
            row = rows[0] if rows else None
        return row

    async def execute(self, sql: str, args: Arguments) -> Outcome:
        prepared = self._prepared(sql)
        if prepared is None:
            tag = await self._connection.execute(sql, *args)
        else:
            tag = (await self._protocol.bind_execute(prepared, args, "", 0, True, None))[1].decode()
        return Outcome(_matched(tag))

    async def execute_many(self, sql: str, rows: Sequence[Arguments]) -> int:
        if _PLAIN_INSERT.match(sql):
            await self._connection.executemany(sql, rows)
            return len(rows)
        # executemany does not tell how many rows matched.
        if self._connection.is_in_transaction():
            return await self._each(sql, rows)
        await self.begin()
        try:
            matched = await self._each(sql, rows)
        except Exception:
            await self._connection.execute("ROLLBACK")
            raise
        await self.commit()
        return matched

    async def _each(self, sql: str, rows: Sequence[Arguments]) -> int:
        return sum([(await self.execute(sql, row)).rows for row in rows])

    async def copy_rows(self, table: str, columns: Sequence[str], rows: Sequence[Arguments]) -> int:
        names = ", ".join(map(_quote, columns))
        # asyncpg's own copy_records_to_table remembers the columns' types. Once a column is altered from integer to
        # real, it would go on to send integers, which the server would take for the bytes of a float.
        types = await self._connection.prepare(f"SELECT {names} FROM {_quote(table)} LIMIT 0", name="")
        copy = f"COPY {_quote(table)} ({names}) FROM STDIN (FORMAT binary)"
        return _matched(await self._connection._protocol.copy_in(copy, None, None, rows, types._state, None))

    async def command(self, sql: str) -> None:
        await self._connection.execute(sql)

    async def begin(self, settings: Mapping[str, str] | None = None) -> None:
        await self._connection.execute(f"BEGIN; {_set_local(settings)}" if settings else "BEGIN")

    async def commit(self) -> None:
        # COMMIT of a transaction in which a statement failed rolls back, and is no error to the server.
        if await self._connection.execute("COMMIT") == "ROLLBACK":
            raise failures.aborted()

    async def ping(self) -> None:
        await self._connection.execute("SELECT 1")

    def is_in_transaction(self) -> bool:
        return bool(self._connection.is_in_transaction())

    def is_outdated(self, statement: str, error: BaseException) -> bool:
        if isinstance(error, asyncpg.InvalidCachedStatementError):
            # Others may be outdated as well.
            self._connection._stmt_cache.clear()
            return True
        if isinstance(error, asyncpg.OutdatedSchemaCacheError):
            # The statement has taken effect, and the connection would go on to read values of the type's old form.
            self.terminate()
            return False
        return may_be_outdated(error) and self._forget(statement)

    def reached_server(self, error: BaseException) -> bool:
        return is_from_server(error)

    def _prepared(self, statement: str) -> Any:
        """What asyncpg has prepared for a statement; None where there is nothing."""
        return self._connection._stmt_cache.get((statement, asyncpg.Record, False))

    def _forget(self, statement: str) -> bool:
        """Prepare a statement anew when it is next used; whether it was prepared."""
        for prepared in self._connection._stmt_cache.iter_statements():
            if prepared.query == statement:
                prepared.mark_closed()
                self._connection._stmts_to_close.add(prepared)
                return True
        return False

    async def settle(self) -> bool:
        if not self._connection.is_in_transaction():
            # asyncpg has sent the cancel request; the next statement waits until the server has obeyed it, or has
            # done what it was too late for: then the connection is in the transaction of a cancelled BEGIN.
            await self._connection.execute("SELECT 1")
        if self._connection.is_in_transaction():
            await self._connection.execute("ROLLBACK")
        return True

    async def capabilities(self) -> Capabilities:
        version = self._connection.get_server_version()
        return Capabilities(
            server=f"PostgreSQL {version.major}.{version.minor}",
            insert_returning=True,
            text_collation="C",
        )

    def is_closed(self) -> bool:
        return bool(self._connection.is_closed())

    async def close(self) -> None:
        await self._connection.close()

    def terminate(self) -> None:
        transport = self._connection._transport
        # With its loop closed asyncpg closes all but the socket, and then cannot schedule the rest.
        with contextlib.suppress(RuntimeError):
            self._connection.terminate()
        close_orphan(transport)


class PostgreSQLConnector(Connector[PostgreSQLSession]):
    """Opens asyncpg connections."""

    async def connect(self) -> PostgreSQLSession:
        url, options = self.url, self.options
        try:
            connection = await asyncpg.connect(
                dsn=f"postgresql://?{urlencode(tls_settings(url, options))}",
                host=url.options.get("host", url.host),
                port=url.port,
                user=url.user,
                password=url.password,
                database=url.database,
                timeout=options.connect_timeout,
                statement_cache_size=options.statement_cache_size,
                max_cached_statement_lifetime=0,
                target_session_attrs=url.options.get("target_session_attrs"),
                server_settings={"application_name": options.application_name, "timezone": "UTC"},
            )
        except Exception as error:
            reason = unreachable_reason(error)
            if reason is None:
                raise
            raise failures.unreachable(self.masked_url, url.database, reason) from error
        return PostgreSQLSession(connection)

    def translate(self, error: Exception) -> Exception:
        return translate(error, self.masked_url)


def tls_settings(url: DatabaseURL, options: DatabaseOptions) -> dict[str, str]:
    """How a connection is encrypted, in libpq's words."""
    settings = {name: value for name, value in url.options.items() if name in POSTGRESQL_TLS}
    if options.ssl_ca:
        settings.setdefault("sslrootcert", options.ssl_ca)
        settings.setdefault("sslmode", "verify-full")
    if options.ssl_cert:
        settings.setdefault("sslcert", options.ssl_cert)
    if options.ssl_key:
        settings.setdefault("sslkey", options.ssl_key)
    # What asyncpg would do by itself, but a query that is not empty is easier to join.
    settings.setdefault("sslmode", "prefer")
    return settings


def _quote(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _set_local(settings: Mapping[str, str]) -> str:
    """A statement that makes settings for the rest of the transaction.

    Written out, because only a message without bind values can carry it together with BEGIN.
    """
    calls = [f"set_config({_literal(name)}, {_literal(value)}, true)" for name, value in settings.items()]
    return f"SELECT {', '.join(calls)}"


def _literal(value: str) -> str:
    """A text as it is written in a statement, whatever the server's ``standard_conforming_strings``."""
    if not isinstance(value, str) or "\0" in value or not _encodable(value):
        raise TypeMismatchError(
            "A setting's name or value is no text that PostgreSQL can hold.",
            hint="Pass str, without NUL characters or lone surrogates.",
        )
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _matched(tag: str) -> int:
    """Rows that a command tag such as ``UPDATE 3`` or ``INSERT 0 1`` tells of; 0 where it tells of none."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
