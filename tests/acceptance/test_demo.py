"""``make demo`` on each database: every row arrives, and the program itself compares it with the source files."""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.acceptance.programs import ROOT, run

SECONDS = 240


def demo(**variables: str) -> str:
    return run([sys.executable, "-m", "examples.flights.demo"], ROOT, seconds=SECONDS, **variables)


def assert_complete(output: str) -> None:
    assert "The database holds what the source files hold." in output
    assert "367,687 rows in" in output
    assert "0 bad rows" in output
    assert "United Air Lines Inc." in output
    assert "58,665" in output


@pytest.mark.timeout(SECONDS)
def test_without_servers(tmp_path: Path) -> None:
    output = demo(TMPDIR=str(tmp_path))
    assert_complete(output)
    assert os.listdir(tmp_path) == [], "the demo leaves nothing behind"


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("fixture", ["postgresql_db_url", "mysql_db_url"])
def test_on_servers(fixture: str, request: pytest.FixtureRequest, redis_url: str) -> None:
    assert_complete(demo(DATABASE_URL=request.getfixturevalue(fixture), REDIS_URL=redis_url))


@pytest.mark.timeout(SECONDS)
def test_again_on_the_same_database_beside_other_tables(sqlite_url: str, redis_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE flights (mine TEXT)")
        connection.execute("INSERT INTO flights VALUES ('untouched')")
    for _ in range(2):
        assert_complete(demo(DATABASE_URL=sqlite_url, REDIS_URL=redis_url))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT mine FROM flights").fetchall() == [("untouched",)]
        assert connection.execute("SELECT count(*) FROM nycflights_flights").fetchone() == (336_776,)
    with redis.Redis.from_url(redis_url) as client:
        assert [key for key in client.smembers("rq:queues") if b"flights-" in key] == []


def test_an_unreachable_database_is_named_and_ends_it(redis_url: str) -> None:
    with pytest.raises(AssertionError, match="ended with 1") as failure:
        demo(DATABASE_URL="postgresql://app:secret@127.0.0.1:1/shop", REDIS_URL=redis_url)
    assert "postgresql://app:***@127.0.0.1:1/shop" in str(failure.value)
    assert "secret" not in str(failure.value)
    assert "Traceback" not in str(failure.value)
