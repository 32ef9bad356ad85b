"""The binary log of a private MariaDB as a source of changes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from dataflow.databases import Database, DatabaseOptions, open_database
from dataflow.databases.mysql_replication import ReplicationConnection
from dataflow.errors import DatabaseError, LostPositionError
from dataflow.events.envelope import Op
from dataflow.events.sources.interface import Chunk, Place, RowChange
from dataflow.events.sources.mysql import CHUNK_BYTES, CHUNK_CHANGES, BinlogSource
from dataflow.models import declare
from dataflow.nodes.generated.bulk_create import BulkCreateNode
from tests.conftest import _serving
from tests.integration.bulk_models import Everything, Status, open_shop
from tests.servers import MariaDBServer

#: Seconds within which anything must have come.
PATIENCE = 20.0
LOGGED = {
    "log-bin": "binlog",
    "server-id": "7",
    "binlog-format": "ROW",
    "binlog-row-metadata": "FULL",
    "sync-binlog": "1",
    # A commit is only as durable as this makes it: a killed server would undo what the log has told.
    "innodb-flush-log-at-trx-commit": "1",
}
CREATE_ORDERS = (
    "CREATE TABLE orders (id BIGINT PRIMARY KEY AUTO_INCREMENT, status VARCHAR(20) NOT NULL, note LONGTEXT) "
    "ENGINE=InnoDB CHARACTER SET utf8mb4"
)


class Order:
    """What most tests change."""

    id: int
    status: str = "open"
    note: str | None

    __dataflow__ = {"timestamps": False}  # noqa: RUF012


ORDER = declare(Order)
_numbers = itertools.count()


class Capture:
    """A source that is read in the background, and what came out of it."""

    def __init__(self, source: BinlogSource, after: Place | None = None) -> None:
        self.source = source
        self.chunks: list[Chunk] = []
        self._after = after
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async with contextlib.aclosing(self.source.chunks(self._after)) as chunks:
                async for chunk in chunks:
                    self.chunks.append(chunk)
                    async with self._news:
                        self._news.notify_all()
        finally:
            async with self._news:
                self._news.notify_all()

    async def until(self, done: Any) -> None:
        """Wait for something to be true of ``self``."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: self._task.done() or done(self))
        if self._task.done():
            await self._task

    async def changes(self) -> list[RowChange]:
        """All changes so far, up to a mark that is made now."""
        token = f"mark {next(_numbers)}"
        await self.source.mark(token)
        await self.until(lambda capture: any(chunk.mark == token for chunk in capture.chunks))
        return [change for chunk in self.chunks for change in chunk.changes]

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LostPositionError):
            await self._task


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    with _serving(MariaDBServer, LOGGED) as server:
        yield server


@pytest.fixture
async def database(server: MariaDBServer) -> AsyncIterator[Database]:
    """An empty database with the table of orders."""
    admin = open_database(server.url, DatabaseOptions(pool_size=1))
    name = f"shop{next(_numbers)}"
    await admin.execute(f"CREATE DATABASE {name}")
    database = open_database(server.url.replace("/mysql", f"/{name}"))
    await database.execute(CREATE_ORDERS)
    yield database
    await database.close()
    await admin.execute(f"DROP DATABASE {name}")
    await admin.close()


@pytest.fixture
async def source(server: MariaDBServer, database: Database) -> AsyncIterator[BinlogSource]:
    source = BinlogSource(
        f"mysql://root@127.0.0.1:{server.port}/{database.masked_url.rpartition('/')[2]}", "shop", [ORDER]
    )
    await source.prepare()
    yield source
    await source.close()


@pytest.fixture
async def capture(source: BinlogSource) -> AsyncIterator[Capture]:
    capture = Capture(source)
    await capture.until(lambda capture: capture.chunks)
    yield capture
    await capture.stop()


def rows(changes: list[RowChange]) -> list[tuple[str, Any, Any]]:
    """What happened, and to which order."""
    return [
        (change.op.value, change.before and change.before["id"], change.after and change.after["id"])
        for change in changes
    ]


async def test_a_create_an_update_and_a_delete(capture: Capture, database: Database) -> None:
    await database.execute("INSERT INTO orders VALUES (1, 'open', 'é漢😀'), (2, 'open', NULL)")
    await database.execute("UPDATE orders SET status = 'completed' WHERE id = 1")
    await database.execute("DELETE FROM orders WHERE id = 2")

    first = {"id": 1, "status": "open", "note": "é漢😀"}
    second = {"id": 2, "status": "open", "note": None}
    assert await capture.changes() == [
        RowChange(Op.CREATE, "orders", None, first),
        RowChange(Op.CREATE, "orders", None, second),
        RowChange(Op.UPDATE, "orders", first, {**first, "status": "completed"}),
        RowChange(Op.DELETE, "orders", second, None),
    ]
    chunks = [chunk for chunk in capture.chunks if chunk.changes]
    assert [(chunk.first, len(chunk.changes), chunk.last) for chunk in chunks] == [
        (0, 2, True),
        (0, 1, True),
        (0, 1, True),
    ]
    positions = [chunk.position for chunk in capture.chunks]
    assert positions == sorted(set(positions))
    assert all(position < 2**56 for position in positions)
    assert abs(datetime.now(UTC) - chunks[0].committed_at) < timedelta(minutes=1)
    assert len({chunk.transaction for chunk in chunks}) == 3


@pytest.mark.parametrize("metadata", ["FULL", "MINIMAL", "NO_LOG"])
async def test_every_type_of_field(server: MariaDBServer, database: Database, metadata: str) -> None:
    url = f"mysql://root@127.0.0.1:{server.port}/{database.masked_url.rpartition('/')[2]}"
    everything = {
        "text": "O'Brien é漢😀",
        "number": -(2**63),
        "real": 0.1,
        "flag": True,
        "amount": Decimal("-12345678901234567890.0123456789"),
        "moment": datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
        "day": date(1000, 1, 1),
        "hour": clock(23, 59, 59, 1),
        "span": timedelta(days=-3, microseconds=5),
        "key": UUID(int=7),
        "raw": bytes(range(256)),
        "document": {"a": [1, None, "b"]},
        "items": [1.5, {}],
        "status": Status.SOLD,
        "maybe": None,
    }
    zeros = {
        **everything, "number": 2**63 - 1, "flag": False, "amount": Decimal(0), "hour": clock(0), "span": timedelta(0),
        "raw": b"", "text": "", "document": {}, "items": [], "maybe": "x" * 70_000,
    }  # fmt: skip
    await database.execute(f"SET GLOBAL binlog_row_metadata = '{metadata}'")
    try:
        async with open_shop(url) as shop:
            await shop.run(BulkCreateNode, Everything, data=[])
            source = BinlogSource(url, "shop", [declare(Everything)])
            await source.prepare()
            capture = Capture(source)
            await capture.until(lambda capture: capture.chunks)
            await shop.run(BulkCreateNode, Everything, data=[everything, zeros])
            stored = await shop.rows(Everything)
            await database.execute(f"UPDATE {declare(Everything).table_name} SET maybe = 'new' WHERE id = 1")
            changes = await capture.changes()
            await capture.stop()
    finally:
        await database.execute("SET GLOBAL binlog_row_metadata = 'FULL'")

    assert [change.after for change in changes if change.op is Op.CREATE] == stored
    assert {name: stored[0][name] for name in everything} == everything
    (update,) = [change for change in changes if change.op is Op.UPDATE]
    assert update.before == stored[0]
    assert update.after == {**stored[0], "maybe": "new"}
    assert not any(change.unavailable for change in changes)


async def test_types_that_our_tables_do_not_have(capture: Capture, database: Database) -> None:
    await database.execute(
        "ALTER TABLE orders ADD (a TINYINT UNSIGNED, b SMALLINT, c MEDIUMINT, d INT UNSIGNED, e BIGINT UNSIGNED, "
        "f FLOAT, g YEAR, h ENUM('x','y'), i SET('p','q','r'), j BIT(10), k TIMESTAMP(3) NULL, l DATETIME, m TIME(2), "
        "n CHAR(255), o VARCHAR(5) CHARACTER SET latin1, p VARBINARY(300), q DECIMAL(9,9), r TINYINT)"
    )
    await database.execute(
        "INSERT INTO orders VALUES (1, 'open', NULL, 255, -2, -8388608, 4294967295, 18446744073709551615, 1.5, 2026, "
        "'y', 'p,r', b'1000000001', '2026-01-02 03:04:05.678', '2026-01-02 03:04:05', '-01:02:03.45', 'char', 'hé', "
        "x'00ff', -0.000000001, -128)"
    )
    change = (await capture.changes())[-1]
    assert change.after is not None
    assert list(change.after.values())[3:] == [
        255, -2, -8388608, 4294967295, 18446744073709551615, 1.5, 2026, "y", "p,r", 513,
        datetime(2026, 1, 2, 3, 4, 5, 678000), datetime(2026, 1, 2, 3, 4, 5),
        -timedelta(hours=1, minutes=2, seconds=3, milliseconds=450), "char", "hé", b"\x00\xff", Decimal("-1E-9"), -128,
    ]  # fmt: skip


async def test_three_writers_lose_nothing(capture: Capture, database: Database) -> None:
    async def write(writer: int) -> None:
        for number in range(40):
            order = writer * 1_000 + number
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO orders VALUES (%s, 'open', NULL)", (order,))
                await transaction.execute("UPDATE orders SET status = 'done' WHERE id = %s", (order,))
                if number % 5 == 4:
                    await transaction.execute("DELETE FROM orders WHERE id = %s", (order,))

    await asyncio.gather(*map(write, (1, 2, 3)))
    changes = await capture.changes()
    left = await database.fetch_all("SELECT id, status, note FROM orders")

    replayed: dict[int, Any] = {}
    for change in changes:
        if change.before is not None:
            assert replayed.pop(change.before["id"]) == change.before
        if change.after is not None:
            assert change.after["id"] not in replayed
            replayed[change.after["id"]] = change.after
    assert sorted(tuple(row.values()) for row in replayed.values()) == sorted(map(tuple, left))
    assert len(changes) == 3 * (40 + 40 + 8)


async def test_from_any_place_on_the_same_comes_again(capture: Capture, database: Database) -> None:
    await database.execute("INSERT INTO orders VALUES (1, 'a', NULL), (2, 'a', NULL), (3, 'a', NULL)")
    await database.execute("FLUSH BINARY LOGS")
    await database.execute("UPDATE orders SET status = 'b' WHERE id < 3")
    wanted = await capture.changes()
    places = [
        Place(chunk.position, chunk.first + number) for chunk in capture.chunks for number in range(len(chunk.changes))
    ]

    for count, place in enumerate(places, 1):
        again = Capture(capture.source, place)
        assert await again.changes() == wanted[count:]
        found = [
            Place(chunk.position, chunk.first + number)
            for chunk in again.chunks
            for number in range(len(chunk.changes))
        ]
        assert found == places[count:]
        await again.stop()


async def test_it_begins_where_it_was_prepared(source: BinlogSource, database: Database) -> None:
    await database.execute("INSERT INTO orders VALUES (1, 'open', NULL)")
    capture = Capture(source)
    assert rows(await capture.changes()) == [("c", None, 1)]
    await capture.stop()


async def test_a_killed_server(server: MariaDBServer, capture: Capture, database: Database) -> None:
    enough = asyncio.Event()
    written: list[int] = []

    async def write(first: int) -> None:
        with contextlib.suppress(DatabaseError):
            for number in itertools.count(first, 3):
                await database.execute("INSERT INTO orders VALUES (%s, 'open', NULL)", (number,))
                written.append(number)
                if len(written) == 60:
                    enough.set()

    writers = [asyncio.create_task(write(first)) for first in (1, 2, 3)]
    async with asyncio.timeout(PATIENCE):
        await enough.wait()
    server.kill()
    await asyncio.gather(*writers)
    server.start()
    await database.execute("INSERT INTO orders VALUES (1000000, 'open', NULL)")

    told = [change.after["id"] for change in await capture.changes() if change.after]
    left = [row[0] for row in await database.fetch_all("SELECT id FROM orders ORDER BY id")]
    assert sorted(told) == left
    assert told[-1] == 1_000_000
    assert set(written) <= set(left)


async def test_a_stream_that_is_ended_goes_on(capture: Capture, database: Database) -> None:
    await database.execute("INSERT INTO orders VALUES (1, 'open', NULL)")
    await capture.until(lambda capture: capture.chunks[-1].changes)
    streams = "SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump' ORDER BY id DESC LIMIT 1"
    ((stream,),) = await database.fetch_all(streams)
    await database.execute(f"KILL {stream}")
    await database.execute("INSERT INTO orders VALUES (2, 'open', NULL)")
    assert rows(await capture.changes()) == [("c", None, 1), ("c", None, 2)]
    ((another,),) = await database.fetch_all(streams)
    assert another != stream


async def test_ddl_while_running(capture: Capture, database: Database) -> None:
    await database.execute("INSERT INTO orders VALUES (1, 'open', NULL)")
    await database.execute("/* later */ ALTER TABLE orders ADD COLUMN extra INT AFTER id")
    await database.execute("INSERT INTO orders VALUES (2, 5, 'open', NULL)")
    await database.execute("RENAME TABLE orders TO orders_old")
    await database.execute(CREATE_ORDERS)
    await database.execute("INSERT INTO orders_old VALUES (3, 5, 'open', NULL)")
    await database.execute("TRUNCATE TABLE orders")

    assert await capture.changes() == [
        RowChange(Op.CREATE, "orders", None, {"id": 1, "status": "open", "note": None}),
        RowChange(Op.SCHEMA, "orders"),
        RowChange(Op.CREATE, "orders", None, {"id": 2, "extra": 5, "status": "open", "note": None}),
        RowChange(Op.SCHEMA, "orders"),
        RowChange(Op.TRUNCATE, "orders"),
    ]


@pytest.mark.parametrize("metadata", ["FULL", "NO_LOG"])
async def test_changes_from_before_a_ddl(capture: Capture, database: Database, metadata: str) -> None:
    place = Place(capture.chunks[-1].position, 0)
    await capture.stop()
    await database.execute(f"SET GLOBAL binlog_row_metadata = '{metadata}'")
    await database.execute("INSERT INTO orders VALUES (1, 'open', NULL)")
    await database.execute("ALTER TABLE orders DROP COLUMN note")
    await database.execute("SET GLOBAL binlog_row_metadata = 'FULL'")
    late = Capture(BinlogSource(_url_of(capture), "shop", [ORDER]), place)
    if metadata == "FULL":
        assert (await late.changes())[0].after == {"id": 1, "status": "open", "note": None}
    else:
        with pytest.raises(LostPositionError, match="before its columns were changed"):
            await late.changes()
    await late.stop()


async def test_what_was_rolled_back_is_not_told(capture: Capture, database: Database) -> None:
    await database.execute("CREATE TABLE journal (id INT) ENGINE=MyISAM")
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO orders VALUES (1, 'open', NULL)")
        # A table without transactions keeps the statements of the savepoint in the log, and its rollback.
        await transaction.execute("SAVEPOINT `a point`")
        await transaction.execute("INSERT INTO orders VALUES (2, 'open', NULL)")
        await transaction.execute("INSERT INTO journal VALUES (1)")
        await transaction.execute("ROLLBACK TO SAVEPOINT `a point`")
        await transaction.execute("INSERT INTO orders VALUES (3, 'open', NULL)")
    async with await ReplicationConnection.open(_url_of(capture)) as session:
        await session.execute("START TRANSACTION")
        await session.execute("INSERT INTO orders VALUES (4, 'open', NULL)")
        await session.execute("INSERT INTO journal VALUES (1)")
        await session.execute("ROLLBACK")
    assert rows(await capture.changes()) == [("c", None, 1), ("c", None, 3)]


async def test_a_prepared_transaction_is_told_when_it_commits(capture: Capture) -> None:
    async def prepare(name: str, order: int) -> None:
        await session.execute(f"XA START '{name}'")
        await session.execute(f"INSERT INTO orders VALUES ({order}, 'open', NULL)")
        await session.execute(f"XA END '{name}'")
        await session.execute(f"XA PREPARE '{name}'")

    session = await ReplicationConnection.open(_url_of(capture))
    await prepare("kept", 1)
    await session.execute("XA COMMIT 'kept'")
    await prepare("dropped", 2)
    await session.execute("XA ROLLBACK 'dropped'")
    await prepare("late", 99)
    await session.execute("XA ROLLBACK 'late'")
    await prepare("late", 3)
    assert rows(await capture.changes()) == [("c", None, 1)]

    # A capture that starts after the preparation has to look for it.
    await capture.stop()
    late = Capture(capture.source, Place(capture.chunks[-1].position, 0))
    await late.until(lambda capture: capture.chunks)
    await session.execute("XA COMMIT 'late'")
    assert rows(await late.changes()) == [("c", None, 3)]
    await late.stop()
    session.close()


async def test_a_large_transaction_in_flat_memory(capture: Capture, database: Database) -> None:
    source, count = capture.source, 0
    place = Place(capture.chunks[-1].position, 0)
    await capture.stop()
    await database.execute("INSERT INTO orders SELECT seq, 'open', REPEAT('x', 100) FROM seq_1_to_200000")
    await source.mark("end")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    async with contextlib.aclosing(source.chunks(place)) as chunks:
        async for chunk in chunks:
            assert len(chunk.changes) <= CHUNK_CHANGES
            if chunk.changes:
                assert chunk.first == count
            count += len(chunk.changes)
            assert chunk.last == (count in (0, 200_000))
            if chunk.mark == "end":
                break
    print(f"{200_000 / (time.perf_counter() - started):,.0f} changes/s")
    assert count == 200_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kB; the transaction has 25 MB


async def test_large_rows_come_in_chunks_of_few(capture: Capture, database: Database) -> None:
    await database.execute(f"INSERT INTO orders SELECT seq, 'open', REPEAT('x', {CHUNK_BYTES // 3}) FROM seq_1_to_9")
    await capture.changes()
    sizes = [len(chunk.changes) for chunk in capture.chunks if chunk.changes]
    assert sum(sizes) == 9
    assert max(sizes) <= 4
    first = [chunk.first for chunk in capture.chunks if chunk.changes]
    assert first == [sum(sizes[:number]) for number in range(len(sizes))]


async def test_marks_and_messages_come_at_their_place(capture: Capture, database: Database) -> None:
    await database.execute(
        "CREATE TABLE dataflow_outbox (seq BIGINT PRIMARY KEY AUTO_INCREMENT, op VARCHAR(1), name VARCHAR(255), "
        "row_after LONGTEXT)"
    )
    other = BinlogSource(_url_of(capture), "another owner", [ORDER])
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO dataflow_outbox VALUES (1, 'm', 'order_created', '{\"id\": 1}')")
        await transaction.execute("INSERT INTO orders VALUES (1, 'open', NULL)")
        await transaction.execute("INSERT INTO dataflow_outbox VALUES (2, 'k', 'another', NULL)")
    await other.mark("not ours")
    await database.execute("DELETE FROM dataflow_outbox")
    assert await capture.changes() == [
        RowChange(Op.MESSAGE, "order_created", None, {"id": 1}),
        RowChange(Op.CREATE, "orders", None, {"id": 1, "status": "open", "note": None}),
    ]
    assert [bool(chunk.mark) for chunk in capture.chunks] == [False] * (len(capture.chunks) - 1) + [True]


async def test_progress_is_told_where_nothing_is_captured(capture: Capture, database: Database) -> None:
    """Else a quiet table's position would grow so old that the log no longer reaches back to it."""
    await database.execute("CREATE TABLE strangers (id INT)")
    reached = capture.chunks[-1].position
    await database.execute("INSERT INTO strangers VALUES (1)")
    await capture.until(lambda capture: capture.chunks[-1].position > reached)
    assert capture.chunks[-1].changes == ()


async def test_a_compressed_log(server: MariaDBServer, capture: Capture, database: Database) -> None:
    await database.execute("SET GLOBAL log_bin_compress = ON")
    try:
        await database.execute("INSERT INTO orders VALUES (1, 'open', REPEAT('long ', 1000))")
        await database.execute("UPDATE orders SET status = 'done'")
        await database.execute("DELETE FROM orders")
        changes = await capture.changes()
    finally:
        await database.execute("SET GLOBAL log_bin_compress = OFF")
    assert rows(changes) == [("c", None, 1), ("u", 1, 1), ("d", 1, None)]
    assert changes[2].before == {"id": 1, "status": "done", "note": "long " * 1_000}


async def test_a_row_image_that_is_not_full(server: MariaDBServer, capture: Capture, database: Database) -> None:
    await database.execute("INSERT INTO orders VALUES (1, 'open', 'a note')")
    async with await ReplicationConnection.open(_url_of(capture)) as session:
        await session.execute("SET SESSION binlog_row_image = 'MINIMAL'")
        await session.execute("UPDATE orders SET status = 'done'")
    change = (await capture.changes())[-1]
    assert change == RowChange(Op.UPDATE, "orders", {"id": 1}, {"status": "done"}, ("id", "note"))


async def test_a_change_logged_as_a_statement_is_a_loud_loss(capture: Capture) -> None:
    async with await ReplicationConnection.open(_url_of(capture)) as session:
        await session.execute("SET SESSION binlog_format = 'STATEMENT', tx_isolation = 'REPEATABLE-READ'")
        await session.execute("INSERT INTO orders VALUES (1, 'open', NULL)")
    with pytest.raises(LostPositionError, match="orders was logged as a statement"):
        await capture.changes()


async def test_a_purged_log_is_lost(capture: Capture, database: Database) -> None:
    place = Place(capture.chunks[-1].position, 0)
    await capture.changes()
    await capture.stop()
    await database.execute("FLUSH BINARY LOGS")
    last = (await database.fetch_all("SHOW BINARY LOGS"))[-1][0]
    async with asyncio.timeout(PATIENCE):
        # The server keeps a file for as long as it thinks that somebody reads it.
        while (await database.fetch_all("SHOW BINARY LOGS"))[0][0] != last:
            await database.execute(f"PURGE BINARY LOGS TO '{last}'")
    lost = Capture(capture.source, place)
    with pytest.raises(LostPositionError, match="no longer has file"):
        await lost.until(lambda capture: False)


async def test_a_place_where_no_transaction_starts_is_lost(capture: Capture) -> None:
    place = Place(capture.chunks[-1].position, 0)
    await capture.stop()
    for wrong in (place.position + 42, place.position + 2**30):
        lost = Capture(capture.source, Place(wrong, 0))
        with pytest.raises(LostPositionError):
            await lost.until(lambda capture: False)


async def test_the_identity_is_the_servers(source: BinlogSource) -> None:
    assert await source.identity() == "mariadb:7:0"


async def test_a_probe_of_a_server_that_has_all(source: BinlogSource) -> None:
    assert await source.probe() == []


async def test_a_probe_says_what_is_missing_and_its_sql(source: BinlogSource, database: Database) -> None:
    await database.execute("CREATE TABLE parents (id BIGINT PRIMARY KEY)")
    await database.execute(
        "ALTER TABLE orders ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES parents (id) ON DELETE CASCADE"
    )
    await database.execute("SET GLOBAL binlog_row_metadata = 'NO_LOG', GLOBAL binlog_row_image = 'MINIMAL'")
    await database.execute("SET GLOBAL sync_binlog = 0, GLOBAL binlog_format = 'MIXED'")
    findings = await source.probe()
    fatal = [finding.problem for finding in findings if finding.fatal]
    for finding in findings:
        if finding.fix.startswith("SET"):
            await database.execute(finding.fix.partition(";")[0])
    left = await source.probe()

    assert len(findings) == 5
    assert fatal == ["The binary log holds statements instead of rows (binlog_format is MIXED)."]
    (cascade,) = left
    assert "Rows of orders that the foreign key fk changes" in cascade.problem


async def test_a_probe_asks_for_privileges(server: MariaDBServer, source: BinlogSource, database: Database) -> None:
    name = database.masked_url.rpartition("/")[2]
    await database.execute("CREATE USER 'reader'@'%%' IDENTIFIED BY 'secret'")
    await database.execute(f"GRANT ALL ON {name}.* TO 'reader'@'%%'")
    reader = BinlogSource(f"mysql://reader:secret@127.0.0.1:{server.port}/{name}", "shop", [ORDER])
    try:
        for granted in ("BINLOG MONITOR ON *.* TO 'reader'@'%';", ""):
            (finding,) = await reader.probe()
            assert finding.fatal
            # All that is missing, though the server names one privilege at a time.
            assert finding.fix == "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'reader'@'%';"
            statement = f"GRANT {granted}" if granted else finding.fix
            await database.execute(statement.replace("%", "%%"))
        assert await reader.probe() == []
    finally:
        await database.execute("DROP USER 'reader'@'%%'")


async def test_removing_leaves_nothing(source: BinlogSource, database: Database) -> None:
    await source.mark("one")
    await source.remove()
    assert await database.existing_columns(["dataflow_binlog_marks"]) == {}


def _url_of(capture: Capture) -> str:
    return str(capture.source._url)
