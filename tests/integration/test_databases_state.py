"""What a connection carries from one user to the next, and what giving it back costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest

from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases import pool as pool_module
from dataflow.databases.interface import Database, Dialect
from dataflow.errors import DatabaseError
from tests.integration.databases import PLAYERS, SERVER_DRIVERS, TEAMS, count, each_driver_url, sql  # noqa: F401

SERVERS_ONLY = pytest.mark.parametrize("database_url", SERVER_DRIVERS, indirect=True)
INSERT = "INSERT INTO teams (id, name) VALUES (?, ?)"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A database with one connection, which has run each of the statements here before."""
    database = open_database(database_url, DatabaseOptions(pool_size=1, max_overflow=0))
    await database.create_tables([TEAMS, PLAYERS])
    yield database
    await database.close()


@pytest.mark.parametrize("begin", ["BEGIN", "SET autocommit = 0"])
async def test_a_transaction_that_is_begun_by_hand_swallows_nothing(
    db: Database, database_url: str, begin: str
) -> None:
    if begin.startswith("SET") and db.dialect is not Dialect.MYSQL:
        pytest.skip("only MySQL has it")

    async def write() -> None:
        await db.execute(begin)
        await db.execute(sql(db, INSERT), [1, "red"])

    with pytest.raises(DatabaseError, match="left a transaction open"):
        await write()
    await db.execute(sql(db, INSERT), [2, "blue"])
    other = open_database(database_url)
    rows = await other.fetch_all("SELECT id FROM teams")
    assert [row[0] for row in rows] == [2]
    assert db.pool_metrics()["checked_out"] == 0
    await other.close()


async def test_a_commit_by_hand_inside_a_transaction_is_no_way_around_it(db: Database) -> None:
    """What follows it commits by itself, and the connection goes back without a transaction."""
    with suppress(DatabaseError):
        async with db.transaction() as transaction:
            await transaction.execute(sql(db, INSERT), [1, "red"])
            await transaction.execute("COMMIT")
    await db.execute(sql(db, INSERT), [2, "blue"])
    assert await count(db, "teams") == 2


@asynccontextmanager
async def proxy(url: str) -> AsyncIterator[tuple[str, Callable[[], int]]]:
    """URL of a relay to a server, and how often clients have spoken to it since that was last asked."""
    parts, turns, server_spoke_last = urlsplit(url), 0, True
    relays: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_client: bool) -> None:
        nonlocal turns, server_spoke_last
        while data := await reader.read(65536):
            turns += from_client and server_spoke_last
            server_spoke_last = not from_client
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(parts.hostname, parts.port)
        for work in (pump(reader, up_writer, True), pump(up_reader, writer, False)):
            relays.add(asyncio.create_task(work))

    def take() -> int:
        nonlocal turns
        taken, turns = turns, 0
        return taken

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield url.replace(f":{parts.port}/", f":{port}/"), take
    server.close()
    await asyncio.wait_for(asyncio.gather(*relays, return_exceptions=True), 5)


@SERVERS_ONLY
async def test_round_trips(db: Database, database_url: str) -> None:
    """A statement is one; taking and giving back the connection, and checking it while it is in use, none."""
    async with proxy(database_url) as (url, round_trips):
        relayed = open_database(url, DatabaseOptions(pool_size=1, max_overflow=0))
        query, update = sql(db, "SELECT * FROM teams WHERE id = ?"), sql(db, "UPDATE teams SET name = ? WHERE id = ?")
        for _ in range(2):
            await relayed.fetch_all(query, [1])
            await relayed.execute(update, ["a", 1])
        round_trips()
        for _ in range(5):
            await relayed.fetch_all(query, [1])
            await relayed.fetch_one(query, [1])
            await relayed.execute(update, ["a", 1])
        assert round_trips() == 15
        async with relayed.transaction() as transaction:
            await transaction.fetch_all(query, [1])
        assert round_trips() == 3
        if relayed.dialect is Dialect.POSTGRESQL:
            async with relayed.transaction({"app.tenant": "acme"}) as transaction:
                await transaction.fetch_all(query, [1])
            assert round_trips() == 3
        await relayed.close()


@SERVERS_ONLY
async def test_only_a_connection_that_was_idle_for_long_is_asked_whether_it_lives(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy(database_url) as (url, round_trips):
        relayed = open_database(url, DatabaseOptions(pool_size=1, max_overflow=0))
        await relayed.fetch_one("SELECT 1")
        await relayed.fetch_one("SELECT 1")
        round_trips()
        monkeypatch.setattr(pool_module, "CHECK_AFTER", -1.0)
        await relayed.fetch_one("SELECT 1")
        assert round_trips() == 2
        await relayed.close()
