"""What the demo shows at its end: the results, and whether they are those of the source files."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table as Grid

from examples.flights.facts import CarrierFacts, SourceFacts, TableFacts
from examples.flights.source import TABLES


@dataclass(frozen=True, slots=True)
class Check:
    """One number of the source files beside the database's answer."""

    what: str
    expected: float | None
    actual: float | None

    @property
    def passed(self) -> bool:
        if isinstance(self.expected, float) and isinstance(self.actual, float):
            return math.isclose(self.expected, self.actual, rel_tol=1e-9)
        return self.expected == self.actual


def checks(results: Mapping[str, Any], expected: SourceFacts) -> list[Check]:
    """Compare the summary job's results with the source files."""
    return [*_totals(results, expected.tables), *_carriers(results, expected.carriers)]


def _totals(results: Mapping[str, Any], expected: Mapping[str, TableFacts]) -> Iterator[Check]:
    for table, facts in expected.items():
        (actual,) = results[table]["records"]
        yield Check(f"{table}: rows", facts.rows, actual["rows"])
        for name, total in facts.sums.items():
            yield Check(f"{table}: sum of {name}", total, actual[f"sum_{name}"])
        for name, number in facts.values.items():
            yield Check(f"{table}: values that are not NULL in {name}", number, actual[f"values_{name}"])


def _carriers(results: Mapping[str, Any], expected: Mapping[str, CarrierFacts]) -> Iterator[Check]:
    actual = {row["carrier"]: row for row in results["carriers"]["records"]}
    yield Check("carriers", len(expected), len(actual))
    for carrier, facts in expected.items():
        row = actual.get(carrier, {})
        yield Check(f"{carrier}: flights", facts.flights, row.get("flights"))
        yield Check(f"{carrier}: mean departure delay", facts.mean_dep_delay, row.get("mean_dep_delay"))
        yield Check(f"{carrier}: mean arrival delay", facts.mean_arr_delay, row.get("mean_arr_delay"))


def carriers_grid(results: Mapping[str, Any]) -> Grid:
    """Flights and delays of each carrier."""
    names = {row["id"]: row["name"] for row in results["names"]["records"]}
    grid = Grid(title="Flights that left New York City in 2013, mean delays in minutes")
    grid.add_column("airline")
    for heading in ("flights", "departure", "arrival", "miles flown"):
        grid.add_column(heading, justify="right")
    for row in results["carriers"]["records"]:
        delays = (_minutes(row["mean_dep_delay"]), _minutes(row["mean_arr_delay"]))
        grid.add_row(names.get(row["carrier"], row["carrier"]), f"{row['flights']:,}", *delays, f"{row['miles']:,}")
    return grid


def tables_grid(results: Mapping[str, Any], found: Collection[Check]) -> Grid:
    """Rows of each table, and how many of its checks hold."""
    grid = Grid(title="The database beside the source files")
    grid.add_column("table")
    for heading in ("rows", "checks", "equal"):
        grid.add_column(heading, justify="right")
    for table in TABLES:
        own = [check for check in found if check.what.startswith(f"{table.name}:")]
        (totals,) = results[table.name]["records"]
        grid.add_row(table.name, f"{totals['rows']:,}", str(len(own)), str(sum(check.passed for check in own)))
    other = [check for check in found if check.what.split(":")[0] not in {table.name for table in TABLES}]
    grid.add_row("per carrier", "", str(len(other)), str(sum(check.passed for check in other)))
    return grid


def _minutes(mean: float | None) -> str:
    return "-" if mean is None else f"{mean:.1f}"
