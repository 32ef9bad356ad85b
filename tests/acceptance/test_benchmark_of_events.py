"""The benchmark of change events runs, on each database, without libraries that are not installed here."""

from __future__ import annotations

import re
import sys

import pytest

from tests.acceptance.programs import ROOT, run

LINES = {
    "postgresql": ["postgresql, pgoutput", "postgresql, outbox"],
    "mysql": ["mysql, binlog", "mysql, outbox"],
    "sqlite": ["sqlite, outbox"],
}


@pytest.mark.usefixtures("redis_server")
@pytest.mark.parametrize("kind", LINES)
def test_the_quick_form_measures_every_row(kind: str, request: pytest.FixtureRequest) -> None:
    if kind != "sqlite":
        request.getfixturevalue(f"{kind}_server")
    command = [sys.executable, "-m", "benchmarks", "events", "--quick", "--here", "--databases", kind]
    output = run(command, ROOT, seconds=100, PYTHONPATH=str(ROOT))
    for title in LINES[kind]:
        assert re.search(rf"{title} +\| +[\d.,]+ \([\d.,]+\) \| .* [\d,]+ \| +[\d,]+ \|", output), output
    if kind == "mysql":
        assert "mysql-replication is missing: mysql-replication is not installed here" in output
