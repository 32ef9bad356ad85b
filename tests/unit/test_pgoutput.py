"""pgoutput's messages and text forms, and chunks made of them, without a server."""

import struct
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from dataflow.errors import CaptureError
from dataflow.events.envelope import Op
from dataflow.events.sources import pgoutput
from dataflow.events.sources.interface import Chunk, Place
from dataflow.events.sources.pgoutput import EPOCH, UNCHANGED, Begin, Column, Delete, Insert, Raw, Relation, Update
from dataflow.events.sources.pgtransactions import CHUNK_BYTES, CHUNK_CHANGES, Transactions
from dataflow.events.sources.pgvalues import RowReader
from dataflow.events.sources.postgresql_setup import object_name
from tests.unit.shop import SPEC, Status

LSN = 0x1_0000_0010


def values(*items: Raw) -> bytes:
    parts = [struct.pack(">H", len(items))]
    for item in items:
        if item is None:
            parts.append(b"n")
        elif item is UNCHANGED:
            parts.append(b"u")
        else:
            parts.append(b"t" + struct.pack(">I", len(item)) + item)
    return b"".join(parts)


def begin(lsn: int) -> bytes:
    return b"B" + struct.pack(">QqI", lsn, 1_000_000, 77)


def relation(*columns: str, name: str = "items", oid: int = 5) -> bytes:
    described = b"".join(b"\1" + column.encode() + b"\0" + struct.pack(">Ii", 25, -1) for column in columns)
    head = struct.pack(">I", oid) + b"public\0" + name.encode() + b"\0f"
    return b"R" + head + struct.pack(">H", len(columns)) + described


def insert(*items: Raw, oid: int = 5) -> bytes:
    return b"I" + struct.pack(">I", oid) + b"N" + values(*items)


def mark(prefix: str, content: bytes) -> bytes:
    return b"M\1" + struct.pack(">Q", LSN) + prefix.encode() + b"\0" + struct.pack(">I", len(content)) + content


COMMIT = b"C" + bytes(25)


def test_messages_are_decoded() -> None:
    old, new = values(b"1", None), values(b"1", UNCHANGED)
    table = struct.pack(">I", 5)
    assert pgoutput.decode(begin(LSN)) == Begin(LSN, EPOCH + timedelta(seconds=1), 77)
    columns = (Column("id", True, 25, -1), Column("naïve", True, 25, -1))
    assert pgoutput.decode(relation("id", "naïve")) == Relation(5, "public", "items", columns)
    assert pgoutput.decode(insert(b"", None)) == Insert(5, [b"", None])
    assert pgoutput.decode(b"U" + table + b"N" + new) == Update(5, None, False, [b"1", UNCHANGED])
    assert pgoutput.decode(b"U" + table + b"O" + old + b"N" + new) == Update(5, [b"1", None], False, [b"1", UNCHANGED])
    assert pgoutput.decode(b"U" + table + b"K" + old + b"N" + new) == Update(5, [b"1", None], True, [b"1", UNCHANGED])
    assert pgoutput.decode(b"D" + table + b"K" + old) == Delete(5, [b"1", None], True)
    assert pgoutput.decode(b"T" + struct.pack(">IBII", 2, 1, 5, 6)) == pgoutput.Truncate((5, 6))
    assert pgoutput.decode(mark("p", b"a\0b")) == pgoutput.Message("p", b"a\0b")
    assert pgoutput.decode(b"O" + bytes(9)) is None


@pytest.mark.parametrize("data", [b"", b"?", b"I" + struct.pack(">I", 5) + b"N" + struct.pack(">H", 1) + b"b"])
def test_what_is_not_understood_is_said(data: bytes) -> None:
    with pytest.raises(CaptureError):
        pgoutput.decode(data)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("name", "é'".encode(), "é'"),
        ("name", b"", ""),
        ("age", b"-9223372036854775808", -(2**63)),
        ("weight", b"0.30000000000000004", 0.1 + 0.2),
        ("weight", b"5e-324", 5e-324),
        ("active", b"t", True),
        ("active", b"f", False),
        ("price", b"12.50", Decimal("12.50")),
        ("status", b"sold", Status.SOLD),
        ("sold_at", b"2026-11-22 03:04:05.6+00", datetime(2026, 11, 22, 3, 4, 5, 600_000, UTC)),
        ("sold_at", b"2026-11-22 03:04:05", datetime(2026, 11, 22, 3, 4, 5, 0, UTC)),
        ("sold_at", b"infinity", datetime.max.replace(tzinfo=UTC)),
        ("day", b"-infinity", date.min),
        ("day", b"0044-03-15", date(44, 3, 15)),
        ("hour", b"03:04:05.000006", time(3, 4, 5, 6)),
        ("waited", b"-1", timedelta(microseconds=-1)),
        ("token", b"12345678-1234-5678-1234-567812345678", UUID(int=0x12345678123456781234567812345678)),
        ("raw", rb"\x00ff", b"\0\xff"),
        ("data", b'{"a": [1, 10000000000000000.0]}', {"a": [1, 1e16]}),
    ],
)
def test_text_forms_become_values(field: str, text: bytes, value: object) -> None:
    row, unknown = reader(field).row([text])
    assert (row, unknown) == ({field: value}, ())
    assert type(row[field]) is type(value)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("status", b"stolen"),
        ("sold_at", b"0044-03-15 00:00:00+00 BC"),
        ("hour", b"24:00:00"),
        ("active", b"1"),
        ("price", b"much"),
        ("name", b"\xff"),
        ("data", b"{"),
    ],
)
def test_a_text_that_is_no_value_is_named_and_does_not_stop_the_rest(field: str, text: bytes) -> None:
    assert reader(field, "age").row([text, b"1"]) == ({"age": 1}, (field,))


def reader(*columns: str) -> RowReader:
    message = pgoutput.decode(relation(*columns))
    assert isinstance(message, Relation)
    return RowReader(SPEC, message)


def test_columns_that_the_model_lacks_are_left_out() -> None:
    assert reader("id", "secret", "name").row([b"1", b"s", b"n"]) == ({"id": 1, "name": "n"}, ())


def test_an_unchanged_value_is_the_one_before_or_unknown() -> None:
    assert reader("id", "name").row([b"1", UNCHANGED], [b"1", b"n"]) == ({"id": 1, "name": "n"}, ())
    assert reader("id", "name").row([b"1", UNCHANGED]) == ({"id": 1}, ("name",))


def chunks_of(transactions: Transactions, *messages: bytes) -> list[Chunk]:
    return [chunk for message in messages for chunk in transactions.read(message)]


def shape(chunks: list[Chunk]) -> list[tuple[Any, ...]]:
    return [(chunk.position, chunk.first, len(chunk.changes), chunk.last) for chunk in chunks]


def started(after: Place | None = None, confirmed: int = 1) -> Transactions:
    transactions = Transactions({"items": SPEC}, "ours", after)
    transactions.begin(confirmed)
    return transactions


def test_a_chunk_is_full_by_changes_or_by_bytes() -> None:
    rows = [insert(b"1", b"n")] * (2 * CHUNK_CHANGES)
    chunks = chunks_of(started(), begin(LSN), relation("id", "name"), *rows, COMMIT)
    assert shape(chunks) == [(LSN, 0, CHUNK_CHANGES, False), (LSN, CHUNK_CHANGES, CHUNK_CHANGES, True)]
    assert (chunks[0].transaction, chunks[0].committed_at) == ("77", EPOCH + timedelta(seconds=1))
    long = insert(b"1", b"n" * CHUNK_BYTES)
    assert shape(chunks_of(started(), begin(LSN), relation("id", "name"), long, long, COMMIT)) == [
        (LSN, 0, 1, False),
        (LSN, 1, 1, True),
    ]


def test_rows_of_other_tables_are_counted() -> None:
    mine, other = insert(b"1"), insert(b"1", oid=6)
    tables = [relation("id"), relation("id", name="others", oid=6)]
    rows = [other, mine, mine, other, mine, other]
    chunks = chunks_of(started(), begin(LSN), *tables, *rows, COMMIT)
    assert shape(chunks) == [(LSN, 1, 2, False), (LSN, 4, 1, True)]
    assert shape(chunks_of(started(Place(LSN, 1)), begin(LSN), *tables, *rows, COMMIT)) == [
        (LSN, 2, 1, False),
        (LSN, 4, 1, True),
    ]


def test_a_broken_connection_goes_on_behind_what_was_given_out() -> None:
    transactions = started()
    first = [begin(LSN), relation("id", "name"), *[insert(b"1", b"n")] * (CHUNK_CHANGES + 1)]
    assert len(chunks_of(transactions, *first)) == 1
    assert transactions.next_lsn == LSN
    transactions.begin(1)
    assert shape(chunks_of(transactions, *first, COMMIT)) == [(LSN, CHUNK_CHANGES, 1, True)]
    assert transactions.next_lsn == LSN + 1


def test_changed_columns_are_told_beside_the_transaction() -> None:
    transactions = started()
    chunks_of(transactions, begin(LSN), relation("id"), insert(b"1"), COMMIT)
    chunks = chunks_of(transactions, begin(LSN + 64), relation("id", "name"), insert(b"1", b"n"), COMMIT)
    assert shape(chunks) == [(LSN + 63, 0, 1, True), (LSN + 64, 0, 1, True)]
    assert chunks[0].changes[0].op is Op.SCHEMA
    # Sent anew, and nothing is new.
    assert len(chunks_of(transactions, begin(LSN + 128), relation("id", "name"), insert(b"1", b"n"), COMMIT)) == 1
    # In the midst of a transaction that has been told in part.
    rows = [insert(b"1", b"n")] * (CHUNK_CHANGES + 1)
    chunks = chunks_of(transactions, begin(LSN + 256), *rows, relation("id"), insert(b"1"), COMMIT)
    assert shape(chunks)[1:] == [(LSN + 256, CHUNK_CHANGES, 2, True), (LSN + 257, 0, 1, True)]


def test_marks_are_ours_only() -> None:
    transactions = started()
    (chunk,) = chunks_of(transactions, begin(LSN), mark("ours", b"low"), mark("theirs", b"x"), COMMIT)
    assert (chunk.mark, chunk.changes, chunk.last) == ("low", [], True)
    (chunk,) = chunks_of(transactions, begin(LSN + 64), COMMIT)
    assert chunk.mark is None


def test_an_idle_log_moves_the_position_but_not_within_a_transaction_nor_back() -> None:
    transactions = started(confirmed=LSN)
    assert transactions.idle(LSN, EPOCH) is None
    chunk = transactions.idle(LSN + 8, EPOCH)
    assert chunk is not None
    assert (chunk.position, chunk.changes, chunk.last) == (LSN + 7, [], True)
    assert transactions.next_lsn == LSN + 8
    chunks_of(transactions, begin(LSN + 8))
    assert transactions.idle(LSN + 64, EPOCH) is None


def test_names_of_slots_are_what_postgresql_takes_and_differ() -> None:
    names = {object_name(owner, db) for owner in ("default", "My App", "my_app", "ä" * 80) for db in ("a", "b")}
    assert len(names) == 8
    for name in names:
        assert len(name) <= 63
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
