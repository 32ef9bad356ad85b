"""CsvReader: rows of a CSV file in batches, from any position that an earlier batch ended at.

One batch is in memory at a time. A position is a number of bytes and of lines, always between two records, so whoever
keeps it can go on from there in another process. A record that cannot be read becomes a BadRow with the line that it
begins in, and the others are read.
"""

from __future__ import annotations

import codecs
import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

#: From a cell's text to the value of its field; raises ValueError.
Convert = Callable[[str], Any]

#: Bytes of a line, at most: a file without line ends must not fill the memory. A cell may have 128 KiB (csv's limit).
MAX_LINE = 1024 * 1024
#: Bytes of a bad record that are kept.
KEPT_TEXT = 500

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class UnusableFileError(Exception):
    """The file as a whole cannot be imported: it is empty, or has other columns."""


class _LineError(Exception):
    """A line is no text, or has no end."""


class Position(NamedTuple):
    """A place between two records.

    Attributes:
        offset: Bytes before it.
        line: Lines before it.
    """

    offset: int
    line: int


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that was not imported.

    Attributes:
        line: The line that it begins in, counted from 1.
        text: How it begins.
        reason: What is wrong with it.
    """

    line: int
    text: str
    reason: str


@dataclass(slots=True)
class Batch:
    """Some records of a file.

    Attributes:
        end: Where they end.
        ended: Nothing follows.
        rows: Those that could be read, by field.
        places: Where each of them begins.
        bad: Those that could not.
    """

    end: Position
    ended: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    places: list[Position] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


class CsvReader:
    """Reads a CSV file whose first record names its columns, in any order.

    Args:
        file: The file, opened in binary mode.
        columns: For each column how its cells are read. All of them must be there, and no others.
        encoding: One in which a line end is the byte 10, such as ``"utf-8"`` or ``"cp1252"``. A byte order mark of
            UTF-8 is skipped.
        delimiter: What stands between cells.

    Attributes:
        start: Where the records begin, behind the names.

    Raises:
        UnusableFileError: The file has no such columns.
    """

    def __init__(
        self, file: BinaryIO, columns: Mapping[str, Convert], *, encoding: str = "utf-8", delimiter: str = ","
    ) -> None:
        self._file = file
        self._encoding = encoding
        self._delimiter = delimiter
        file.seek(0)
        head = file.read(4)
        if head.startswith(_UTF16):
            raise UnusableFileError("It is UTF-16 text; save it as UTF-8.")
        first = Position(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0, 0)
        header = next(self._records(first), None)
        if header is None:
            raise UnusableFileError("It is empty; its first line must name the columns.")
        _, names, self.start = header
        self._converts = self._matched(names, columns)

    def read(self, position: Position, size: int) -> Batch:
        """The next ``size`` records, or as many as there are."""
        batch = Batch(position)
        for begin, cells, batch.end in self._records(position):
            try:
                row = self._row(cells)
            except ValueError as error:
                batch.bad.append(BadRow(begin.line + 1, self.text(begin), str(error)))
            else:
                batch.rows.append(row)
                batch.places.append(begin)
            if len(batch.rows) + len(batch.bad) >= size:
                return batch
        batch.ended = True
        return batch

    def text(self, begin: Position) -> str:
        """How the record that begins there begins: its first line."""
        start = os.pread(self._file.fileno(), KEPT_TEXT, begin.offset)
        return start.partition(b"\n")[0].rstrip(b"\r").decode(self._encoding, "replace").replace("\x00", "\ufffd")

    def _records(self, position: Position) -> Iterator[tuple[Position, Sequence[str] | str, Position]]:
        """``(begin, cells, end)`` of each record; in place of cells, what is wrong where there are none."""
        while True:
            lines = _Lines(self._file, position, self._encoding)
            # Strict: a quote in the wrong place is an error, and not a cell that swallows what follows.
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            try:
                for cells in reader:
                    begin, position = position, lines.position
                    if cells:  # an empty line is no record
                        yield begin, cells, position
            except (csv.Error, _LineError) as error:
                # Perhaps a quote was not closed, and good records were read as part of the cell: only the first line
                # is bad for sure, and the reading goes on behind it.
                begin, position = position, lines.skip_one(position)
                yield begin, str(error), position
            else:
                return

    def _row(self, cells: Sequence[str] | str) -> dict[str, Any]:
        if isinstance(cells, str):
            raise ValueError(cells)
        if len(cells) != len(self._converts):
            raise ValueError(f"It has {len(cells)} cells, there are {len(self._converts)} columns.")
        row = {}
        for (name, convert), cell in zip(self._converts, cells, strict=True):
            try:
                row[name] = convert(cell)
            except ValueError as error:
                raise ValueError(f"{name} {error}, got {cell[:80]!r}.") from None
        return row

    def _matched(self, names: Sequence[str] | str, columns: Mapping[str, Convert]) -> list[tuple[str, Convert]]:
        """The columns in the file's order."""
        if isinstance(names, str):
            raise UnusableFileError(f"Its first line cannot be read: {names}")
        problems = {
            "missing": [name for name in columns if name not in names],
            "not known": [name for name in names if name not in columns],
            "there twice": sorted({name for name in names if names.count(name) > 1}),
        }
        told = [f"{', '.join(map(repr, found))} {what}" for what, found in problems.items() if found]
        if told:
            raise UnusableFileError(f"Of its columns are {'; '.join(told)}. Expected: {', '.join(columns)}.")
        return [(name, columns[name]) for name in names]


class _Lines:
    """Lines of a file as text, one at a time; ``position`` is behind the last one given."""

    def __init__(self, file: BinaryIO, position: Position, encoding: str) -> None:
        self._file = file
        self._encoding = encoding
        self._offset, self._line = position
        file.seek(position.offset)

    @property
    def position(self) -> Position:
        return Position(self._offset, self._line)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE)
        if not line:
            raise StopIteration
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            raise _LineError(f"Line {self._line + 1} is longer than {MAX_LINE:,} bytes.")
        try:
            text = line.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise _LineError(
                f"Line {self._line + 1} is not {self._encoding}: byte {line[error.start]:#04x} at {error.start + 1}."
            ) from None
        self._offset += len(line)
        self._line += 1
        return text

    def skip_one(self, position: Position) -> Position:
        """The place behind the line that begins at ``position``, however long it is."""
        self._file.seek(position.offset)
        length = 0
        while part := self._file.readline(MAX_LINE):
            length += len(part)
            if part.endswith(b"\n"):
                break
        return Position(position.offset + length, position.line + 1)
