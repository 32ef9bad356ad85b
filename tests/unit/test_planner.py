import pytest

from dataflow.databases.interface import Dialect
from dataflow.queries.filters import parse_filter
from dataflow.queries.planner import estimate_rows, explained, plan_lines, read_estimate
from tests.unit.shop import ROWS, unquoted

#: As MySQL 8 answers: with partitions and filtered.
SCAN = (1, "SIMPLE", "items", None, "ALL", None, None, None, None, 4000, 33.33, "Using where")
LOOKUP = (1, "SIMPLE", "other", None, "eq_ref", "PRIMARY", "PRIMARY", "8", "items.id", 1, 50.0, None)
INNER = (2, "DEPENDENT SUBQUERY", "third", None, "ALL", None, None, None, None, 9, 100.0, None)
IMPOSSIBLE = (1, "SIMPLE", None, None, None, None, None, None, None, None, None, "Impossible WHERE")
#: As MariaDB does, EXTENDED: numbers may come as text, and there are no partitions.
MARIADB = (1, "PRIMARY", "items", "range", "age", "age", "8", None, "120", 75.0, "Using where")


@pytest.mark.parametrize(
    ("answer", "rows"),
    [
        ([SCAN], 1333),
        ([SCAN, LOOKUP], 667),
        ([SCAN, INNER], 1333),
        ([IMPOSSIBLE], 0),
        ([MARIADB], 90),
        ([MARIADB, (None, "UNION RESULT", "<union1,2>", "ALL", None, None, None, None, None, None, "")], 90),
    ],
)
def test_an_estimate_of_mysql_is_of_the_statements_own_tables(answer, rows):
    assert read_estimate(answer, Dialect.MYSQL) == rows


def test_an_estimate_of_postgresql_is_the_outermost_steps():
    answer = [['[{"Plan": {"Node Type": "Join", "Plan Rows": 12, "Plans": [{"Plan Rows": 4000}]}}]']]
    assert read_estimate(answer, Dialect.POSTGRESQL) == 12


@pytest.mark.parametrize(
    ("dialect", "mariadb", "begins"),
    [
        (Dialect.POSTGRESQL, False, "EXPLAIN (FORMAT JSON) SELECT 1 "),
        (Dialect.MYSQL, False, "EXPLAIN FORMAT=TRADITIONAL SELECT 1 "),
        (Dialect.MYSQL, True, "EXPLAIN EXTENDED SELECT 1 "),
    ],
)
def test_an_estimate_is_asked_in_the_servers_words(dialect, mariadb, begins):
    rows = ROWS[dialect]
    plan = estimate_rows(rows, parse_filter(rows, {"age": 3}), mariadb=mariadb)
    assert plan.sql.startswith(begins)
    assert "WHERE items.age = " in unquoted(plan.sql)


def test_lines_of_mysql_name_what_they_say():
    assert plan_lines([SCAN], Dialect.MYSQL) == (
        "id=1, select_type=SIMPLE, table=items, type=ALL, rows=4000, filtered=33.33, extra=Using where",
    )
    assert plan_lines([(*MARIADB[:9], "Using where")], Dialect.MYSQL)[0].endswith("rows=120, extra=Using where")


def test_lines_of_sqlite_are_indented_by_depth():
    steps = [(2, 0, 0, "COMPOUND"), (3, 2, 0, "LEFT"), (5, 3, 0, "SCAN a"), (9, 2, 0, "UNION")]
    assert plan_lines(steps, Dialect.SQLITE) == ("COMPOUND", "  LEFT", "    SCAN a", "  UNION")


def test_what_explains():
    assert explained("SELECT 1", Dialect.SQLITE) == "EXPLAIN QUERY PLAN SELECT 1"
