"""``make import-demo`` on each database; it compares the table with the files itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.acceptance.programs import ROOT, run

SECONDS = 150


def demo(**variables: str) -> str:
    return run([sys.executable, "-m", "examples.scheduled_import.demo"], ROOT, seconds=SECONDS, **variables)


def assert_complete(output: str) -> None:
    assert "kill -9 at 1-all.csv: " in output
    assert "12 bad rows; the next tick found nothing to do: True" in output
    assert "The table holds what the files hold." in output


@pytest.mark.timeout(SECONDS)
def test_without_servers(tmp_path: Path) -> None:
    assert_complete(demo(TMPDIR=str(tmp_path)))
    assert os.listdir(tmp_path) == [], "the demo leaves nothing behind"


@pytest.mark.timeout(2 * SECONDS)
def test_twice_on_a_server(postgresql_db_url: str, redis_url: str) -> None:
    for _ in range(2):
        assert_complete(demo(DATABASE_URL=postgresql_db_url, REDIS_URL=redis_url))


@pytest.mark.timeout(SECONDS)
def test_on_mysql(mysql_db_url: str, redis_url: str) -> None:
    assert_complete(demo(DATABASE_URL=mysql_db_url, REDIS_URL=redis_url))
