"""The flights demo notices every difference between the database and the source files."""

from copy import deepcopy
from typing import Any

import pytest

from examples.flights.facts import SourceFacts, source_facts, table_facts
from examples.flights.report import Check, carriers_grid, checks, tables_grid
from examples.flights.source import AIRLINES, AIRPORTS, TABLES, BadRow


@pytest.fixture(scope="module")
def expected() -> SourceFacts:
    return source_facts()


@pytest.fixture(scope="module")
def results(expected: SourceFacts) -> dict[str, Any]:
    """What the summary job answers when all rows have arrived."""
    answers: dict[str, Any] = {}
    for name, facts in expected.tables.items():
        sums = {f"sum_{column}": total for column, total in facts.sums.items()}
        values = {f"values_{column}": number for column, number in facts.values.items()}
        answers[name] = {"records": [{"rows": facts.rows, **sums, **values}]}
    answers["names"] = {"records": [row for row in AIRLINES.rows() if isinstance(row, dict)]}
    answers["carriers"] = {
        "records": [
            {
                "carrier": carrier,
                "flights": facts.flights,
                "mean_dep_delay": facts.mean_dep_delay,
                "mean_arr_delay": facts.mean_arr_delay,
                "miles": 0,
            }
            for carrier, facts in expected.carriers.items()
        ]
    }
    return answers


def failed(results: dict[str, Any], expected: SourceFacts) -> list[str]:
    return [check.what for check in checks(results, expected) if not check.passed]


def test_equal_answers_pass(results: dict[str, Any], expected: SourceFacts) -> None:
    assert failed(results, expected) == []


@pytest.mark.parametrize(
    ("table", "key", "what"),
    [
        ("flights", "rows", "flights: rows"),
        ("flights", "sum_distance", "flights: sum of distance"),
        ("weather", "values_wind_gust", "weather: values that are not NULL in wind_gust"),
        ("planes", "values_speed", "planes: values that are not NULL in speed"),
    ],
)
def test_a_number_that_is_off_by_one_fails(
    results: dict[str, Any], expected: SourceFacts, table: str, key: str, what: str
) -> None:
    other = deepcopy(results)
    other[table]["records"][0][key] += 1
    assert failed(other, expected) == [what]


def test_a_lost_carrier_fails(results: dict[str, Any], expected: SourceFacts) -> None:
    other = deepcopy(results)
    lost = other["carriers"]["records"].pop()["carrier"]
    assert failed(other, expected)[0] == "carriers"
    assert f"{lost}: flights" in failed(other, expected)


def test_a_row_that_was_reported_as_bad_is_not_expected(expected: SourceFacts) -> None:
    bad = source_facts([BadRow("airports.csv", 3, "made up")])
    assert bad.tables["airports"].rows == expected.tables["airports"].rows - 1
    assert bad.tables["airports"] == table_facts(AIRPORTS, without=[3])
    assert bad.tables["flights"] == expected.tables["flights"]


def test_means_may_differ_in_the_last_digits_only() -> None:
    assert Check("mean", 1 / 3, 0.33333333333333337).passed
    assert not Check("mean", 1 / 3, 0.3334).passed
    assert not Check("mean", 1.5, None).passed


def test_grids_show_names_and_counts(results: dict[str, Any], expected: SourceFacts) -> None:
    assert carriers_grid(results).row_count == 16
    assert tables_grid(results, checks(results, expected)).row_count == len(TABLES) + 1
