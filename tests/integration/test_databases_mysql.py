"""MySQL's two drivers: the same results from both, and what each needs help with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases.interface import Database
from dataflow.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError
from tests.integration.databases import MYSQL_DRIVERS, each_driver_url  # noqa: F401
from tests.servers import MariaDBServer, Server

pytestmark = pytest.mark.parametrize("database_url", MYSQL_DRIVERS, indirect=True)

#: Expressions whose values come over the wire in every form that the protocol has.
EXPRESSIONS = [
    "1", "-1", "18446744073709551615", "-9223372036854775808", "1.50", "CAST(1.5 AS DECIMAL(10, 3))", "1e300", "-0e0",
    "NULL", "''", "'a'", "'é😀'", "REPEAT('x', 300)", "REPEAT('é', 70000)", "x'00ff'", "_binary 'abc'", "b'101'",
    "CAST('2024-01-02 03:04:05.123456' AS DATETIME(6))", "CAST('2024-01-02 03:04:05.1' AS DATETIME(1))",
    "TIMESTAMP '0001-01-01 00:00:00'", "TIMESTAMP '9999-12-31 23:59:59'", "DATE '2024-02-29'", "DATE '1000-01-01'",
    "TIME '838:59:59'", "TIME '-00:00:00.5'", "TIME '-838:59:59'", "CAST('12:13:14.000001' AS TIME(6))",
    "JSON_OBJECT('a', 1)", "JSON_EXTRACT('{\"a\": [1, null]}', '$.a')", "YEAR('2024-01-01')", "INET6_ATON('::1')",
    "TRUE", "ST_GeomFromText('POINT(1 2)')",
]  # fmt: skip
COLUMNS = (
    "e ENUM('a', 'b'), s SET('x', 'y'), y YEAR, b BIT(9), t TINYINT, u BIGINT UNSIGNED, f FLOAT, d DATE, "
    "dt DATETIME, ts TIMESTAMP NULL, z INT(5) ZEROFILL, bl TINYBLOB, tt TINYTEXT, vb VARBINARY(5), c CHAR(3), j JSON"
)
ROWS = (
    "('b', 'x,y', 1999, b'100000001', -3, 18446744073709551615, 1.25, '0000-00-00', '0000-00-00 00:00:00', "
    "'0000-00-00 00:00:00', 7, x'ff00', 't', x'00', 'c', '{\"a\": 1}')",
    "('', '', 0, b'0', 0, 0, -0.0, '2024-00-10', '2024-00-10 01:02:03', NULL, 0, '', '', '', '', 'null')",
    f"({', '.join(['NULL'] * 16)})",
)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url)
    yield database
    await database.close()


@pytest.fixture
async def reference(database_url: str) -> AsyncIterator[Database]:
    """The same database through aiomysql."""
    database = open_database(database_url.replace("asyncmy", "aiomysql"))
    yield database
    await database.close()


async def test_values_are_the_same_from_both_drivers(db: Database, reference: Database) -> None:
    statement = f"SELECT {', '.join(EXPRESSIONS)}"
    await db.execute(f"CREATE TABLE kinds ({COLUMNS})")
    async with db.transaction() as transaction:
        await transaction.execute("SET SESSION sql_mode = ''")
        for row in ROWS:
            await transaction.execute(f"INSERT INTO kinds VALUES {row}")
        await transaction.execute("SET SESSION sql_mode = DEFAULT")
    for query in (statement, "SELECT * FROM kinds"):
        rows, expected = await db.fetch_all(query), await reference.fetch_all(query)
        assert [[(type(value), value) for value in row] for row in rows] == [
            [(type(value), value) for value in row] for row in expected
        ]
    assert (await db.fetch_all(statement))[0][0] == 1


@pytest.mark.parametrize("size", [2**24 - 5, 2**24 - 1, 2**24 + 7])
async def test_values_larger_than_a_packet(db: Database, database_url: str, size: int) -> None:
    [allowed] = await db.fetch_all("SELECT @@global.max_allowed_packet")
    await db.execute("SET GLOBAL max_allowed_packet = 64 * 1024 * 1024")
    large = open_database(database_url)
    try:
        rows = await large.fetch_all(f"SELECT REPEAT('x', {size}), 5 UNION ALL SELECT 'z', 6")
        assert [(len(text), number) for text, number in rows] == [(size, 5), (1, 6)]
        assert await large.fetch_one("SELECT LENGTH(%s), 7", ["y" * size]) == (size, 7)
        assert await large.fetch_one("SELECT 8") == (8,)
    finally:
        await large.close()
        await db.execute("SET GLOBAL max_allowed_packet = %s", allowed)


async def test_a_packet_that_the_server_refuses_costs_one_connection_only(db: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)max_allowed_packet|lost|gone away"):
        await db.fetch_one("SELECT LENGTH(%s)", ["y" * 2**25])
    assert await db.fetch_one("SELECT 8") == (8,)
    assert db.pool_metrics()["checked_out"] == 0


async def test_without_tls_on_the_server_a_connection_that_must_have_it_is_refused(
    database_url: str, new_server: Callable[[type[Server]], Server]
) -> None:
    class PlainServer(MariaDBServer):
        def command(self) -> list[str]:
            return [*super().command(), "--skip-ssl"]

    server = new_server(PlainServer)
    scheme = database_url.partition("://")[0]
    db = open_database(f"{scheme}://{server.url.partition('://')[2]}?ssl=true")
    with pytest.raises(DatabaseUnavailableError, match=r"(?i)tls|ssl|handshake"):
        await db.fetch_one("SELECT 1")
    await db.close()


async def test_tls(database_url: str, new_server: Callable[[type[Server]], Server]) -> None:
    class TLSServer(MariaDBServer):
        def prepare(self) -> None:
            super().prepare()
            self._run(
                f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext "
                f"subjectAltName=IP:127.0.0.1 -keyout {self.folder}/key.pem -out {self.folder}/cert.pem".split()
            )

        def command(self) -> list[str]:
            return [*super().command(), f"--ssl-cert={self.folder}/cert.pem", f"--ssl-key={self.folder}/key.pem"]

    server = new_server(TLSServer)
    scheme = database_url.partition("://")[0]
    url = f"{scheme}://{server.url.partition('://')[2]}"
    for options in (f"ssl_ca={server.folder}/cert.pem", "ssl=true"):
        db = open_database(f"{url}?{options}")
        row = await db.fetch_one("SHOW STATUS LIKE 'Ssl_cipher'")
        assert row is not None
        assert row[1]
        assert await db.fetch_one("SELECT REPEAT('x', 1000000)") == ("x" * 1_000_000,)
        await db.close()
    stranger = open_database(f"{url.replace('127.0.0.1', 'localhost')}?ssl_ca={server.folder}/cert.pem")
    with pytest.raises(DatabaseUnavailableError, match="certificate"):
        await stranger.fetch_one("SELECT 1")
    await stranger.close()


async def test_both_know_the_old_name_of_utf8(database_url: str) -> None:
    db = open_database(f"{database_url}?charset=utf8mb3")
    assert await db.fetch_one("SELECT %s", ["é"]) == ("é",)
    await db.close()


async def test_a_character_set_that_does_not_exist_is_refused(database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="'utf9'"):
        open_database(f"{database_url}?charset=utf9")


async def test_the_url_and_the_setting_choose_the_driver(database_url: str) -> None:
    wanted = database_url.partition("://")[0].partition("+")[2]
    plain = database_url.replace(f"+{wanted}", "")
    for db in (
        open_database(plain, DatabaseOptions(mysql_driver=wanted)),  # type: ignore[arg-type]
        open_database(database_url, DatabaseOptions(mysql_driver="auto")),
    ):
        with pytest.raises(DatabaseError) as caught:
            await db.fetch_one("SELEC 1")
        assert type(caught.value.__cause__).__module__.startswith(wanted.replace("aiomysql", "pymysql"))
        await db.close()


def test_without_asyncmy_the_other_driver_is_used(database_url: str) -> None:
    program = (
        "import sys; sys.modules['asyncmy'] = None\n"
        "from dataflow.databases import DatabaseOptions, open_database\n"
        "from dataflow.databases.mysql import session_class\n"
        "from dataflow.errors import ConfigurationError\n"
        "print(session_class('auto').__name__)\n"
        "try: open_database('mysql+asyncmy://root@h/d')\n"
        "except ConfigurationError as error: print(error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("AiomysqlSession\nInstall it (pip install 'dataflow-jobs[fast]')")
