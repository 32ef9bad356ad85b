"""The binary log's format by hand-made bytes, above all MySQL's own: no test runs a MySQL server."""

from __future__ import annotations

import struct
import zlib
from decimal import Decimal
from typing import Any

import pytest

from dataflow.errors import CaptureError, LostPositionError
from dataflow.events.envelope import Op
from dataflow.events.sources.binlog import (
    EventType,
    LogEvent,
    LogReader,
    packed_int,
    position_of,
    read_gtid,
    split_position,
)
from dataflow.events.sources.binlog_columns import Column, ColumnType, column_reader
from dataflow.events.sources.binlog_json import read_json
from dataflow.events.sources.binlog_rows import ColumnFacts, RowReader, columns_of, read_table_map
from dataflow.events.sources.binlog_statements import Meaning, names_table, read_statement
from dataflow.events.sources.binlog_transactions import MEMORY_BYTES, Transaction, TransactionReader
from dataflow.events.sources.interface import RowChange

UUID_BYTES = bytes(range(16))


def raw(kind: int, body: bytes, *, end: int = 0, checksum: bool = True) -> memoryview:
    size = 19 + len(body) + 4 * checksum
    data = struct.pack("<IBIIIH", 1_700_000_000, kind, 1, size, end, 0) + body
    return memoryview(data + struct.pack("<I", zlib.crc32(data)) if checksum else data)


def format_event(*, checksums: bool) -> memoryview:
    return raw(EventType.FORMAT, b"\x04\x00" + b"\x00" * 94 + bytes([checksums]))


def rotate(name: str) -> memoryview:
    return raw(EventType.ROTATE, struct.pack("<Q", 4) + name.encode())


class Log:
    """Events of MySQL's log, each at a position of its own, given to a TransactionReader."""

    def __init__(self, **options: Any) -> None:
        self.reader = TransactionReader("shop", ["orders"], **options)
        self.position = position_of(3, 4)

    def add(self, kind: int, body: bytes) -> Transaction | None:
        self.position += 100
        return self.reader.read(LogEvent(kind, 1_700_000_000, self.position, body))

    def gtid(self, number: int = 5) -> None:
        assert self.add(EventType.GTID, b"\x01" + UUID_BYTES + struct.pack("<Q", number) + b"\x02") is None

    def query(self, text: str, database: str = "shop") -> Transaction | None:
        head = struct.pack("<IIBHH", 1, 0, len(database), 0, 3) + b"\x00\x00\x00"
        return self.add(EventType.QUERY, head + database.encode() + b"\x00" + text.encode())

    def rows(self, number: int = 1, table: str = "orders", size: int = 10) -> None:
        key = number.to_bytes(6, "little")
        names = b"\x04shop\x00" + bytes([len(table)]) + table.encode() + b"\x00"
        assert self.add(EventType.TABLE_MAP, key + b"\x01\x00" + names + b"\x01\x03\x00\x00") is None
        assert self.add(EventType.WRITE, key + b"\x01\x00" + b"\x00" * size) is None

    def xid(self) -> Transaction | None:
        return self.add(EventType.XID, b"\x01" + b"\x00" * 7)


def test_positions_grow_and_come_apart_again() -> None:
    assert split_position(position_of(42, 1_234)) == (42, 1_234)
    assert position_of(2, 4) > position_of(1, 2**32 - 1)
    assert position_of(65_535, 2**40 - 1) < 2**56


@pytest.mark.parametrize("checksums", [True, False])
def test_events_of_a_file(checksums: bool) -> None:
    reader = LogReader()
    assert reader.read(rotate("mysql-bin.000042")) is None
    assert reader.read(format_event(checksums=checksums)) is None
    event = reader.read(raw(EventType.XID, b"12345678", end=1_000, checksum=checksums))
    size = 19 + 8 + 4 * checksums
    assert event == LogEvent(EventType.XID, 1_700_000_000, position_of(42, 1_000 - size), b"12345678")


def test_a_damaged_event_is_refused() -> None:
    reader = LogReader()
    reader.read(rotate("mysql-bin.000042"))
    reader.read(format_event(checksums=True))
    damaged = bytearray(raw(EventType.XID, b"12345678", end=1_000))
    damaged[20] ^= 1
    with pytest.raises(CaptureError, match="file 42, before offset 1000"):
        reader.read(memoryview(bytes(damaged)))


def test_the_id_of_a_transaction() -> None:
    body = b"\x01" + UUID_BYTES + struct.pack("<Q", 77) + b"\x02" + b"\x00" * 30
    assert read_gtid(LogEvent(EventType.GTID, 0, 0, body)).text == "00010203-0405-0607-0809-0a0b0c0d0e0f:77"
    assert read_gtid(LogEvent(EventType.ANONYMOUS_GTID, 0, 0, body)).text == ""
    maria = read_gtid(LogEvent(EventType.MARIADB_GTID, 0, 0, struct.pack("<QIB", 9, 2, 1)))
    assert (maria.text, maria.alone) == ("2-9", True)


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"\x05", 5), (b"\xfc\x01\x02", 513), (b"\xfd\x01\x00\x01", 65_537), (b"\xfe" + b"\x01" + b"\x00" * 7, 1)],
)
def test_packed_numbers(data: bytes, value: int) -> None:
    assert packed_int(b"?" + data, 1) == (value, 1 + len(data))


def test_a_transaction_ends_with_its_commit() -> None:
    log = Log()
    log.gtid()
    start = log.position
    assert log.query("BEGIN") is None
    log.rows(1)
    log.rows(2, table="others")
    ended = log.xid()
    assert ended is not None
    assert (ended.position, ended.id) == (start, "00010203-0405-0607-0809-0a0b0c0d0e0f:5")
    assert [event.type for event in ended.spool.events()] == [EventType.TABLE_MAP, EventType.WRITE]
    ended.spool.close()


def test_ddl_of_mysql_ends_by_itself() -> None:
    log = Log()
    log.gtid()
    ended = log.query("ALTER TABLE orders ADD COLUMN extra INT")
    assert ended is not None
    assert ended.tables == ("orders",)
    ended.spool.close()
    log.gtid()
    assert log.query("CREATE TABLE orders_copy (id INT) START TRANSACTION") is None
    log.rows()
    created = log.xid()
    assert created is not None
    assert len(created.spool) > 0
    created.spool.close()


def test_what_is_not_committed_is_dropped() -> None:
    log = Log()
    log.gtid(1)
    log.query("BEGIN")
    log.rows()
    # The server crashed here; the next file begins with another transaction.
    log.gtid(2)
    log.query("BEGIN")
    log.rows()
    ended = log.query("ROLLBACK")
    assert ended is not None
    assert ended.id.endswith(":2")
    assert len(ended.spool) == 0
    ended.spool.close()


def test_a_large_transaction_keeps_its_order() -> None:
    log = Log()
    log.gtid()
    log.query("BEGIN")
    count = 2 * MEMORY_BYTES // 100_000
    for number in range(count):
        log.rows(number, size=100_000)
    ended = log.xid()
    assert ended is not None
    assert len(ended.spool) > MEMORY_BYTES
    numbers = [int.from_bytes(event.body[:6], "little") for event in ended.spool.events()]
    assert numbers == [number for number in range(count) for _ in range(2)]
    ended.spool.close()


def test_a_prepared_transaction() -> None:
    def prepare(log: Log, *, one_phase: bool = False) -> Transaction | None:
        log.gtid()
        assert log.query("XA START X'71',X'',1") is None
        log.rows()
        assert log.query("XA END X'71',X'',1") is None
        return log.add(EventType.XA_PREPARE, struct.pack("<BiII", one_phase, 1, 1, 0) + b"q")

    log = Log()
    prepared = prepare(log)
    assert prepared is not None
    assert len(prepared.spool) == 0
    start = prepared.position
    assert log.reader.prepared == {("71", "", 1): start}
    log.gtid()
    committed = log.query("XA COMMIT X'71',X'',1")
    assert committed is not None
    assert committed.xid == ("71", "", 1)

    once = prepare(Log(), one_phase=True)
    searched = prepare(Log(wanted=("71", "", 1)))
    assert once is not None
    assert searched is not None
    assert len(once.spool) == len(searched.spool) > 0
    for transaction in (prepared, committed, once, searched):
        transaction.spool.close()


@pytest.mark.parametrize(
    ("kind", "error", "fix"),
    [
        (EventType.COMPRESSED_TRANSACTION, CaptureError, "binlog_transaction_compression = OFF"),
        (EventType.PARTIAL_UPDATE, CaptureError, "binlog_row_value_options = ''"),
        (EventType.INCIDENT, LostPositionError, "snapshot"),
    ],
)
def test_what_cannot_be_read_is_said(kind: int, error: type[Exception], fix: str) -> None:
    log = Log()
    log.gtid()
    with pytest.raises(error, match=fix):
        log.add(kind, b"\x00" * 30)
    log.reader.close()


def test_rows_outside_a_transaction_are_refused() -> None:
    with pytest.raises(LostPositionError):
        Log().rows()


@pytest.mark.parametrize(
    ("text", "meaning", "tables"),
    [
        ("BEGIN", Meaning.BEGIN, ()),
        ("COMMIT", Meaning.COMMIT, ()),
        ("ROLLBACK", Meaning.ROLLBACK, ()),
        ("ROLLBACK TO `x`", Meaning.ROLLBACK_TO, ()),
        ("ROLLBACK WORK TO SAVEPOINT x", Meaning.ROLLBACK_TO, ()),
        ("SAVEPOINT `x`", Meaning.SAVEPOINT, ()),
        ("alter table orders add x int", Meaning.ALTER, ((None, "orders"),)),
        ("/* who */ -- why\n ALTER ONLINE TABLE IF EXISTS `a b`.`c``d` FORCE", Meaning.ALTER, (("a b", "c`d"),)),
        ("ALTER TABLE a RENAME TO b", Meaning.ALTER, ((None, "a"), (None, "b"))),
        ("ALTER TABLE a RENAME COLUMN x TO y", Meaning.ALTER, ((None, "a"),)),
        ("RENAME TABLE a TO shop.b, `c` TO d", Meaning.ALTER, ((None, "a"), ("shop", "b"), (None, "c"), (None, "d"))),
        ("TRUNCATE orders", Meaning.TRUNCATE, ((None, "orders"),)),
        ("TRUNCATE TABLE shop . orders", Meaning.TRUNCATE, (("shop", "orders"),)),
        ("CREATE TABLE orders (id INT)", Meaning.OTHER, ()),
        ("CREATE INDEX i ON orders (id)", Meaning.OTHER, ()),
        ("INSERT INTO orders VALUES (1)", Meaning.ROWS, ()),
        ("SET STATEMENT max_statement_time = 1 FOR DELETE FROM orders", Meaning.ROWS, ()),
        ("", Meaning.OTHER, ()),
    ],
)
def test_what_a_statement_means(text: str, meaning: Meaning, tables: Any) -> None:
    statement = read_statement(text)
    assert (statement.meaning, statement.tables) == (meaning, tables)


def test_a_table_is_named_as_a_word() -> None:
    assert names_table("INSERT INTO `orders` VALUES (1)", "orders")
    assert names_table("delete from shop.ORDERS", "orders")
    assert not names_table("INSERT INTO old_orders VALUES (1)", "orders")


@pytest.mark.parametrize(
    ("precision", "scale", "data", "value"),
    [
        # The example of MySQL's source: 1234567890.1234, and its negative.
        (14, 4, "810DFB38D204D2", "1234567890.1234"),
        (14, 4, "7EF204C72DFB2D", "-1234567890.1234"),
        (5, 0, "800000", "0"),
        (9, 9, "80000001", "0.000000001"),
        (18, 9, "8000000000000000", "0"),
    ],
)
def test_decimals(precision: int, scale: int, data: str, value: str) -> None:
    read = column_reader(Column("amount", ColumnType.NEWDECIMAL, precision << 8 | scale))
    bytes_ = bytes.fromhex(data)
    assert read(b"?" + bytes_, 1) == (Decimal(value), 1 + len(bytes_))


@pytest.mark.parametrize(
    ("kind", "meta", "data"),
    [
        (ColumnType.DATE, 0, b"\x00\x00\x00"),
        (ColumnType.DATETIME2, 6, b"\x80" + b"\x00" * 7),
        (ColumnType.TIMESTAMP2, 0, b"\x00" * 4),
    ],
)
def test_days_that_do_not_exist_are_none(kind: ColumnType, meta: int, data: bytes) -> None:
    assert column_reader(Column("day", kind, meta))(data, 0) == (None, len(data))


def test_a_type_that_is_not_known_is_named() -> None:
    with pytest.raises(CaptureError, match="'packed'.*140"):
        column_reader(Column("packed", 140, 0))


def test_rows_of_mysql_with_minimal_metadata() -> None:
    """Version 2 of the events, with extra data, and JSON in binary."""
    key = b"\x01\x00\x00\x00\x00\x00"
    body = (
        key + b"\x01\x00\x04shop\x00\x06orders\x00"
        + b"\x03" + bytes([ColumnType.LONGLONG, ColumnType.VARCHAR, ColumnType.JSON])
        + b"\x03" + struct.pack("<H", 80) + b"\x04" + b"\x06"
        + b"\x01\x01\x80"  # optional metadata: id is unsigned
    )  # fmt: skip
    table_map = read_table_map(body)
    assert not table_map.is_full
    facts = [
        ColumnFacts("id", "bigint unsigned", None),
        ColumnFacts("status", "varchar(20)", "utf8mb4"),
        ColumnFacts("document", "json", None),
    ]
    reader = RowReader("orders", columns_of(table_map, facts), None)
    before = b"\x00" + b"\xff" * 8 + b"\x04open" + b"\x02\x00\x00\x00\x04\x01"
    after = b"\x04" + b"\xff" * 8 + b"\x04done"
    event = key + b"\x01\x00" + b"\x05\x00\x00\x01\x02" + b"\x03\x07\x07" + before + after
    assert list(reader.read(LogEvent(EventType.UPDATE, 0, 0, event))) == [
        RowChange(
            Op.UPDATE,
            "orders",
            {"id": 2**64 - 1, "status": "open", "document": True},
            {"id": 2**64 - 1, "status": "done", "document": None},
        )
    ]
    for other in (facts[:2], [facts[0], ColumnFacts("status", "int(11)", None), facts[2]]):
        with pytest.raises(LostPositionError, match="before its columns were changed"):
            columns_of(table_map, other)


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ("", None),
        ("0400", None),
        ("0401", True),
        ("0402", False),
        ("05ffff", -1),
        ("06ffff", 65_535),
        ("07ffffffff", -1),
        ("08ffffffff", 2**32 - 1),
        ("09ffffffffffffffff", -1),
        ("0affffffffffffffff", 2**64 - 1),
        ("0b000000000000f83f", 1.5),
        ("0c03616263", "abc"),
        ("0c8001" + "61" * 128, "a" * 128),
        ("0000000400", {}),
        ("0200000400", []),
        # {"a": 1, "b": [2, "x"]}
        (
            "00 0200 2000 1200 0100 1300 0100 05 0100 02 1400 61 62 0200 0c00 05 0200 0c 0a00 01 78",
            {"a": 1, "b": [2, "x"]},
        ),
        # A large list: [true, 70000]
        ("03 02000000 12000000 04 01000000 07 70110100", [True, 70_000]),
        # Opaque: the decimal 1.5 as DECIMAL(2, 1); another type
        ("0f f6 04 0201 8105", "1.5"),
        ("0f f5 01 41", "base64:type245:QQ=="),
    ],
)
def test_binary_json(document: str, value: Any) -> None:
    assert read_json(bytes.fromhex(document)) == value


@pytest.mark.parametrize(
    ("kind", "packed", "text"),
    [
        (12, ((2026 * 13 + 1) << 22 | 2 << 17 | 3 << 12 | 4 << 6 | 5) << 24 | 6, "2026-01-02 03:04:05.000006"),
        (10, ((2026 * 13 + 1) << 22 | 2 << 17) << 24, "2026-01-02"),
        (11, -((1 << 12 | 2 << 6 | 3) << 24 | 4), "-01:02:03.000004"),
    ],
)
def test_moments_in_binary_json(kind: int, packed: int, text: str) -> None:
    assert read_json(bytes([15, kind, 8]) + struct.pack("<q", packed)) == text


def test_binary_json_of_an_unknown_type() -> None:
    with pytest.raises(CaptureError, match="14"):
        read_json(b"\x0e\x00")
