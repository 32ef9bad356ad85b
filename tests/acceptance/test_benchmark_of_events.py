"""The benchmark of change events runs: on SQLite, since a server takes it a minute and differs by what is captured."""

from __future__ import annotations

import re
import sys

import pytest

from tests.acceptance.programs import ROOT, run


@pytest.mark.usefixtures("redis_server")
def test_the_quick_form_measures_every_row() -> None:
    command = [sys.executable, "-m", "benchmarks", "events", "--quick", "--here", "--databases", "sqlite"]
    output = run(command, ROOT, seconds=100, PYTHONPATH=str(ROOT))
    assert re.search(r"sqlite, outbox +\| +[\d.,]+ \([\d.,]+\) \| .* [\d,]+ \| +[\d,]+ \|", output), output
