"""What the source files hold, counted in plain Python without the reader that feeds the import.

The demo compares these facts with what the database answers, so they must not share code with the import: cells are
taken as text, straight from the csv module.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from examples.flights.source import FLIGHTS, MISSING, TABLES, BadRow, Table, open_table, package_file

#: Integer columns whose sum and number of values are compared, by table and as the files call them.
SUMMED: Mapping[str, tuple[str, ...]] = {
    "airlines": (),
    "airports": ("alt", "tz"),
    "planes": ("year", "engines", "seats", "speed"),
    "weather": ("year", "month", "day", "hour", "wind_dir"),
    "flights": ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "distance", "flight", "minute"),
}

#: Columns of other types whose number of values is compared.
COUNTED: Mapping[str, tuple[str, ...]] = {
    "airlines": (),
    "airports": ("tzone",),
    "planes": (),
    "weather": ("temp", "wind_gust", "pressure"),
    "flights": ("tailnum",),
}


@dataclass(slots=True)
class TableFacts:
    """One table.

    Attributes:
        rows: Number of rows.
        sums: Sum of each summed column.
        values: Number of values that are not NA in each summed or counted column.
    """

    rows: int = 0
    sums: dict[str, int] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class CarrierFacts:
    """One carrier's flights; delays in minutes, over the flights that have one."""

    flights: int = 0
    departed: int = 0
    arrived: int = 0
    dep_delay: int = 0
    arr_delay: int = 0

    @property
    def mean_dep_delay(self) -> float | None:
        return self.dep_delay / self.departed if self.departed else None

    @property
    def mean_arr_delay(self) -> float | None:
        return self.arr_delay / self.arrived if self.arrived else None


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """All that is compared.

    Attributes:
        tables: By the table's name.
        carriers: By the carrier's code.
    """

    tables: Mapping[str, TableFacts]
    carriers: Mapping[str, CarrierFacts]


def source_facts(bad_rows: Collection[BadRow] = ()) -> SourceFacts:
    """Count all files of the package, without the rows that were reported as unreadable."""
    bad = {table.file: frozenset(row.line for row in bad_rows if row.file == table.file) for table in TABLES}
    tables = {table.name: table_facts(table, without=bad[table.file]) for table in TABLES}
    return SourceFacts(tables, carrier_facts(FLIGHTS, without=bad[FLIGHTS.file]))


def table_facts(table: Table, path: Path | None = None, *, without: Collection[int] = ()) -> TableFacts:
    """Count one file.

    Args:
        table: What to count.
        path: Read this file instead of the package's.
        without: Lines that were reported as unreadable, and so are not in the database.
    """
    summed, counted = SUMMED[table.name], COUNTED[table.name]
    facts = TableFacts(sums=dict.fromkeys(summed, 0), values=dict.fromkeys((*summed, *counted), 0))
    with open_table(path or package_file(table.file)) as lines:
        reader = csv.reader(lines)
        header = next(reader)
        kept = (row for row in reader if reader.line_num not in without)
        for rows in _chunks(kept):
            facts.rows += len(rows)
            columns = dict(zip(header, zip(*rows, strict=True), strict=True))
            for name in facts.values:
                facts.values[name] += len(rows) - columns[name].count(MISSING)
            for name in summed:
                facts.sums[name] += sum(int(cell) for cell in columns[name] if cell != MISSING)
    return facts


def carrier_facts(table: Table, *, without: Collection[int] = ()) -> dict[str, CarrierFacts]:
    """Count the flights of each carrier."""
    found: dict[str, CarrierFacts] = defaultdict(CarrierFacts)
    with open_table(package_file(table.file)) as lines:
        reader = csv.reader(lines)
        header = next(reader)
        carrier, departure, arrival = (header.index(name) for name in ("carrier", "dep_delay", "arr_delay"))
        for row in reader:
            if reader.line_num in without:
                continue
            facts = found[row[carrier]]
            facts.flights += 1
            if row[departure] != MISSING:
                facts.departed += 1
                facts.dep_delay += int(row[departure])
            if row[arrival] != MISSING:
                facts.arrived += 1
                facts.arr_delay += int(row[arrival])
    return dict(found)


def field_of(table: str, column: str) -> str:
    """The model's name for a column of a file."""
    return next(item.columns[column].field for item in TABLES if item.name == table)


def _chunks(rows: Iterator[list[str]], size: int = 10_000) -> Iterator[list[list[str]]]:
    while chunk := list(islice(rows, size)):
        yield chunk
