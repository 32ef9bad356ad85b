"""MySQL and MariaDB, through asyncmy or aiomysql."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

from pymysql.charset import charset_by_name
from pymysql.constants import CLIENT

from dataflow.databases import failures
from dataflow.databases.mysql_errors import NO_SUCH_THREAD, code_of, translate, unreachable_reason
from dataflow.databases.mysql_session import MySQLSession, read_version
from dataflow.databases.mysql_text import literals
from dataflow.databases.options import DatabaseOptions
from dataflow.databases.pooled import Connector
from dataflow.databases.url import DatabaseURL
from dataflow.errors import ConfigurationError

#: Wrong values are errors, as elsewhere; an id of 0 is 0, not "make one".
_SQL_MODE = (
    "STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,"
    "NO_AUTO_VALUE_ON_ZERO"
)
#: Long text and bytes sort by so many of their first bytes; the server's own default is 1,024.
_SORTED_BYTES = 8_192
#: Bytes. A sort needs room for fifteen keys; MySQL's own 256 kB have it for two such columns only.
_SORT_BUFFER = 2_097_152


class MySQLConnector(Connector[MySQLSession]):
    """Opens connections of the driver that the options name."""

    def __init__(self, url: DatabaseURL, options: DatabaseOptions) -> None:
        super().__init__(url, options)
        self._sessions = session_class(options.mysql_driver)
        if charset_by_name(options.charset) is None:
            raise ConfigurationError(f"MySQL has no character set {options.charset!r}.", hint="Use utf8mb4.")

    async def connect(self) -> MySQLSession:
        url, options, session = self.url, self.options, None
        try:
            async with asyncio.timeout(options.connect_timeout):
                session = await self._sessions.open(
                    self._kill,
                    host=url.host or "localhost",
                    port=url.port or 3306,
                    user=url.user,
                    password=url.password or "",
                    db=url.database,
                    unix_socket=url.options.get("unix_socket"),
                    charset=options.charset,
                    client_flag=CLIENT.FOUND_ROWS,
                    autocommit=True,
                    ssl=self._tls(),
                    program_name=options.application_name,
                )
                for statement in self._session_settings(session.server_version):
                    await session.command(statement)
        except BaseException as error:
            if session is not None:
                session.terminate()
            reason = self._reason(error)
            if reason is None:
                raise
            raise failures.unreachable(self.masked_url, url.database, reason) from error
        return session

    def translate(self, error: Exception) -> Exception:
        return translate(error, self.masked_url, self._sessions.driver_error)

    def _reason(self, error: BaseException) -> str | None:
        return unreachable_reason(error, self._sessions.driver_error) if isinstance(error, Exception) else None

    def _session_settings(self, server: str) -> Iterator[str]:
        isolation = "tx_isolation" if read_version(server)[1] else "transaction_isolation"
        yield (
            f"SET SESSION time_zone = '+00:00', sql_mode = '{_SQL_MODE}', {isolation} = 'READ-COMMITTED', "
            f"max_sort_length = GREATEST(@@max_sort_length, {_SORTED_BYTES}), "
            f"sort_buffer_size = GREATEST(@@sort_buffer_size, {_SORT_BUFFER})"
        )
        collation = self.url.options.get("collation")
        if collation:
            charset, collation = literals((self.options.charset, collation))
            yield f"SET NAMES {charset} COLLATE {collation}"

    def _tls(self) -> ssl.SSLContext | None:
        options = self.options
        wanted = self.url.options.get("ssl", "").lower() in ("1", "true", "yes", "on")
        if not (wanted or options.ssl_ca or options.ssl_cert):
            return None
        context = ssl.create_default_context(cafile=options.ssl_ca)
        if not options.ssl_ca:
            # Encryption only, as MySQL's own clients do without a CA.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if options.ssl_cert:
            context.load_cert_chain(options.ssl_cert, options.ssl_key)
        return context

    async def _kill(self, thread_id: int) -> None:
        session = await self.connect()
        try:
            await session.command(f"KILL {thread_id}")
        except self._sessions.driver_error as error:
            if code_of(error) != NO_SUCH_THREAD:  # it has ended by itself
                raise
        finally:
            session.terminate()


def session_class(driver: str) -> type[MySQLSession]:
    """The sessions of a driver.

    Args:
        driver: ``"aiomysql"``, ``"asyncmy"``, or ``"auto"``: asyncmy where it is installed, else aiomysql.

    Raises:
        ConfigurationError: It is not installed.
    """
    if driver != "aiomysql":
        try:
            from dataflow.databases.mysql_asyncmy import AsyncmySession
        except ImportError as error:
            if driver == "asyncmy":
                raise ConfigurationError(
                    f"mysql_driver='asyncmy' cannot be used: {error}.",
                    hint="Install it (pip install 'dataflow-jobs[fast]'), or leave mysql_driver at 'auto'.",
                ) from error
        else:
            return AsyncmySession
    from dataflow.databases.mysql_aiomysql import AiomysqlSession

    return AiomysqlSession
