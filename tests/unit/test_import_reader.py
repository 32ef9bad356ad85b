"""The CSV reader of examples/scheduled_import."""

from __future__ import annotations

import csv
import io
import random
import tracemalloc
from pathlib import Path

import pytest

from examples.scheduled_import.reader import MAX_LINE, BadRow, Batch, CsvReader, UnusableFileError


def whole(cell: str) -> int:
    if not cell.isdigit():
        raise ValueError("is a whole number")
    return int(cell)


COLUMNS = {"sku": str, "stock": whole}


def read_all(path: Path, size: int, **options: str) -> Batch:
    """All batches as one; each is read by a reader of its own, as after a restart."""
    result = None
    while result is None or not result.ended:
        with path.open("rb") as file:
            reader = CsvReader(file, COLUMNS, **options)
            batch = reader.read(reader.start if result is None else result.end, size)
        assert len(batch.rows) + len(batch.bad) <= size
        if result is None:
            result = batch
        else:
            result.rows += batch.rows
            result.places += batch.places
            result.bad += batch.bad
            result.end, result.ended = batch.end, batch.ended
    return result


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "x.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_bad_rows_have_their_lines_and_the_others_are_read(tmp_path: Path, size: int) -> None:
    path = write(
        tmp_path,
        b"\xef\xbb\xbfstock,sku\r\n"  # 1
        b"1,A\r\n"
        b'2,"B\nover\r\ntwo lines"\r\n'  # 3, 4, 5
        b"\r\n"
        b"many,C\r\n"  # 7
        b"3\r\n"
        b"4,\xff\r\n"
        b"5,D,E\r\n"
        b'6,"F"G\r\n'
        b'7,"unclosed\r\n'  # 12
        b"8,H\r\n"
        b"9,I",
    )
    found = read_all(path, size)
    assert found.rows == [
        {"stock": 1, "sku": "A"},
        {"stock": 2, "sku": "B\nover\r\ntwo lines"},
        {"stock": 8, "sku": "H"},
        {"stock": 9, "sku": "I"},
    ]
    assert [place.line + 1 for place in found.places] == [2, 3, 13, 14]
    assert found.bad == [
        BadRow(7, "many,C", "stock is a whole number, got 'many'."),
        BadRow(8, "3", "It has 1 cells, there are 2 columns."),
        BadRow(9, "4,\ufffd", "Line 9 is not utf-8: byte 0xff at 3."),
        BadRow(10, "5,D,E", "It has 3 cells, there are 2 columns."),
        BadRow(11, '6,"F"G', "',' expected after '\"'"),
        BadRow(12, '7,"unclosed', "unexpected end of data"),
    ]
    assert found.end == (path.stat().st_size, 14)


def test_records_of_all_kinds_from_every_position(tmp_path: Path) -> None:
    seeded = random.Random(7)
    pieces = ["a", "é", "漢😀", ",", '"', "\n", "\r\n", " ", "'", ";", "x" * 200]
    rows = [("".join(seeded.choices(pieces, k=seeded.randrange(1, 8))), seeded.randrange(10**6)) for _ in range(500)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("sku", "stock"), *rows])
    path = write(tmp_path, text.getvalue())
    for size in (1, 7, 1000):
        found = read_all(path, size)
        assert [(row["sku"], row["stock"]) for row in found.rows] == rows
        assert found.bad == []
    content = path.read_bytes()
    for place in found.places:
        assert place.line == content[: place.offset].count(b"\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "It is empty"),
        (b"\n\n", "It is empty"),
        (b"\xff\xfes\x00k\x00u\x00", "UTF-16"),
        (b"sku\n", "'stock' missing"),
        (b"sku,Stock\n", "'stock' missing; 'Stock' not known"),
        (b"sku,stock,sku\n", "'sku' there twice"),
        (b'"sku,stock\n', "first line cannot be read"),
        (b"\xff,stock\n", "first line cannot be read"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, content: bytes, reason: str) -> None:
    with write(tmp_path, content).open("rb") as file, pytest.raises(UnusableFileError, match=reason):
        CsvReader(file, COLUMNS)


def test_only_names_are_no_rows(tmp_path: Path) -> None:
    assert read_all(write(tmp_path, "sku,stock"), 10).rows == []


def test_other_encodings_and_delimiters(tmp_path: Path) -> None:
    path = write(tmp_path, "sku;stock\nGröße;1\n".encode("cp1252"))
    assert read_all(path, 10, encoding="cp1252", delimiter=";").rows == [{"sku": "Größe", "stock": 1}]


def test_an_endless_line_is_one_bad_row_and_memory_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with path.open("wb") as file:
        file.write(b"sku,stock\nA,1\n")
        for _ in range(20 * MAX_LINE // 2**16):
            file.write(b"x" * 2**16)
        file.write(b"\nB,2\n" + b"C,3\n" * 100_000)
    tracemalloc.start()
    try:
        with path.open("rb") as opened:
            reader = CsvReader(opened, COLUMNS)
            first = reader.read(reader.start, 3)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [row["sku"] for row in first.rows] == ["A", "B"]
    assert [(bad.line, bad.reason) for bad in first.bad] == [(3, f"Line 3 is longer than {MAX_LINE:,} bytes.")]
    assert len(first.bad[0].text) == 500
    assert peak < 6 * MAX_LINE


def test_many_unclosed_quotes_cost_no_good_row(tmp_path: Path) -> None:
    lines = [f'"bad{number},1' if number % 50 == 25 else f"P{number},{number}" for number in range(20_000)]
    found = read_all(write(tmp_path, "\n".join(["sku,stock", *lines])), 5_000)
    assert len(found.rows) == 19_600
    assert [bad.line for bad in found.bad] == [number + 2 for number in range(20_000) if number % 50 == 25]
