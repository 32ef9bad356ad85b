import sqlite3
from datetime import UTC, datetime

import pytest

from dataflow.databases.interface import Dialect
from dataflow.databases.sqlite_functions import register
from tests.unit.shop import CODECS, SPEC


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31 12:00:00.000001", datetime(2026, 1, 31, 12, 0, 0, 1, UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31 12:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_sqlite_reads_moments_as_others_write_them(text: str, moment: datetime) -> None:
    decode = CODECS[Dialect.SQLITE].fields["sold_at"].decode
    assert decode is not None
    assert decode(text) == moment
    assert decode(text).tzinfo is UTC


def test_rows_are_decoded_in_column_order() -> None:
    row: list[object] = [None] * len(SPEC.names)
    row[SPEC.names.index("id")] = 7
    row[SPEC.names.index("data")] = '{"a": 1}'
    decoded = CODECS[Dialect.SQLITE].row(row)
    assert tuple(decoded) == SPEC.names
    assert (decoded["id"], decoded["data"], decoded["token"]) == (7, {"a": 1}, None)


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("dataflow_add(1, 2)", 3),
        ("dataflow_add(1.5, 2)", 3.5),
        ("dataflow_multiply(NULL, 2)", None),
        ("dataflow_add('0.10', '0.25', 5, 2)", "0.35"),
        ("dataflow_multiply('0.15', '0.5', 5, 2)", "0.08"),
        ("dataflow_multiply('-0.15', '0.5', 5, 2)", "-0.08"),
        ("dataflow_multiply('-0.01', '0.1', 5, 2)", "0.00"),
        ("dataflow_multiply('1.00', NULL, 5, 2)", None),
        ("dataflow_lower('ÉaΩ')", "éaω"),
        ("dataflow_regexp('(?i)É$', 'aé')", 1),
        ("dataflow_regexp('^é', 'aé')", 0),
        ("dataflow_regexp('', NULL)", None),
    ],
)
def test_sqlite_functions(call: str, result: object) -> None:
    connection = sqlite3.connect(":memory:")
    register(connection)
    assert connection.execute(f"SELECT {call}").fetchone() == (result,)
    connection.close()


@pytest.mark.parametrize(
    "call",
    [
        f"dataflow_add({2**63 - 1}, 1)",
        "dataflow_multiply(1e308, 10.0)",
        "dataflow_add('999.99', '0.01', 5, 2)",
    ],
)
def test_sqlite_overflow_is_an_error(call: str) -> None:
    connection = sqlite3.connect(":memory:")
    register(connection)
    with pytest.raises(sqlite3.DataError):
        connection.execute(f"SELECT {call}").fetchone()
    connection.close()
