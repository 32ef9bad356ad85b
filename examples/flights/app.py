"""The DataFlow app of the flights demo: five models, and the workflows that jobs name.

A worker serves it with ``dataflow worker examples.flights.app:db``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dataflow import DataFlow, Field, Workflow, WorkflowBuilder
from examples.flights.facts import COUNTED, SUMMED, field_of
from examples.flights.source import TABLES, Table

db = DataFlow(name="flights")


@db.model
class Airline:
    """A carrier; its id is the two-letter code."""

    __tablename__ = "nycflights_airlines"

    id: str
    name: str


@db.model
class Airport:
    """An airport; its id is the FAA code."""

    __tablename__ = "nycflights_airports"

    id: str
    name: str
    lat: float
    lon: float
    alt: int
    tz: int
    dst: str
    tzone: str | None


@db.model
class Plane:
    """A plane; its id is the tail number. Not every plane that flew is listed, so flights do not reference it."""

    __tablename__ = "nycflights_planes"

    id: str
    year: int | None
    kind: str
    manufacturer: str
    model: str
    engines: int
    seats: int
    speed: int | None
    engine: str


@db.model
class Weather:
    """One hour at one airport; local date and hour, and the moment in UTC."""

    __tablename__ = "nycflights_weather"
    __indexes__ = ({"name": "nycflights_weather_hour", "fields": ["origin", "time_hour"], "unique": True},)

    origin: str
    year: int
    month: int
    day: int
    hour: int
    temp: float | None
    dewp: float | None
    humid: float | None
    wind_dir: int | None
    wind_speed: float | None
    wind_gust: float | None
    precip: float
    pressure: float | None
    visib: float
    time_hour: datetime


@db.model
class Flight:
    """One flight; times are local HHMM, delays minutes, and what is NULL never departed or never arrived."""

    __tablename__ = "nycflights_flights"

    year: int
    month: int
    day: int
    dep_time: int | None
    sched_dep_time: int
    dep_delay: int | None
    arr_time: int | None
    sched_arr_time: int
    arr_delay: int | None
    carrier: str = Field(index=True)
    flight: int
    tailnum: str | None
    origin: str
    dest: str
    air_time: int | None
    distance: int
    hour: int
    minute: int
    time_hour: datetime


def clear_workflow() -> Workflow:
    """Deletes what an earlier run of the demo left in its own tables."""
    builder = WorkflowBuilder("clear")
    for table in TABLES:
        builder.add_node(f"{table.model}BulkDeleteNode", table.name, {"filter": {}, "confirmed": True})
    return builder.build()


def import_workflow(table: Table) -> Workflow:
    """Creates the rows that the job brings along."""
    builder = WorkflowBuilder(f"import_{table.name}")
    builder.add_node(f"{table.model}BulkCreateNode", "import", {"data": "{{batch}}"})
    return builder.build()


def summary_workflow() -> Workflow:
    """Asks the database for all that the report shows and checks, every question beside the others."""
    builder = WorkflowBuilder("summary")
    for table in TABLES:
        totals: dict[str, Any] = {"rows": {"$count": "*"}}
        for name in SUMMED[table.name]:
            totals[f"sum_{name}"] = {"$sum": field_of(table.name, name)}
        for name in (*SUMMED[table.name], *COUNTED[table.name]):
            totals[f"values_{name}"] = {"$count": field_of(table.name, name)}
        builder.add_node(f"{table.model}AggregateNode", table.name, {"aggregate": totals})
    builder.add_node("AirlineListNode", "names", {"fields": ["id", "name"], "limit": 1000})
    carriers = {
        "flights": {"$count": "*"},
        "mean_dep_delay": {"$avg": "dep_delay"},
        "mean_arr_delay": {"$avg": "arr_delay"},
        "miles": {"$sum": "distance"},
    }
    builder.add_node(
        "FlightAggregateNode", "carriers", {"group_by": ["carrier"], "aggregate": carriers, "sort": "-flights"}
    )
    return builder.build()


db.register_workflow("clear", clear_workflow())
db.register_workflow("summary", summary_workflow())
for _table in TABLES:
    db.register_workflow(f"import_{_table.name}", import_workflow(_table))
