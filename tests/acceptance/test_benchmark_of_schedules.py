"""The benchmark of schedules runs."""

from __future__ import annotations

import re
import sys

from tests.acceptance.programs import ROOT, run


def test_the_quick_form_measures_every_row(redis_url: str) -> None:
    output = run([sys.executable, "-m", "benchmarks", "schedules", "--quick"], ROOT, seconds=90, PYTHONPATH=str(ROOT))
    assert re.search(r"no schedule is due .* of a core", output)
    for name, jobs in (("one at a time", 100), ("50 due in the same second", 50)):
        assert re.search(rf"{name} .* median [\d.,]+ ms, p99 [\d.,]+ ms, last [\d.,]+ ms \({jobs} jobs\)", output)
