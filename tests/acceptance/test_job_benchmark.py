"""The benchmark of jobs runs, and its figures are of jobs that ran: its smallest form, on what is installed here."""

from __future__ import annotations

import sys

import pytest

from benchmarks.jobs import chosen
from tests.acceptance.programs import ROOT, run

COMMAND = [sys.executable, "-m", "benchmarks", "jobs", "--quick", "--here"]


def _figures(output: str) -> dict[str, list[str]]:
    """The table's cells by label."""
    lines = [line for line in output.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {label: cells for label, *cells in rows}


def _number(cell: str) -> float:
    return float(cell.replace(",", ""))


@pytest.mark.usefixtures("redis_server")
def test_jobs_beside_rq() -> None:
    figures = _figures(run([*COMMAND, "--peers", "ours,rq", "--only", "1 worker process"], ROOT))
    ours, rq, ratio, _ = figures["no-op jobs/s, 1 worker process"]
    assert _number(ours) > 0
    assert _number(rq) > 0
    assert _number(ratio) == pytest.approx(_number(ours) / _number(rq), rel=0.02)


@pytest.mark.usefixtures("redis_server", "postgresql_server")
def test_jobs_that_insert_and_a_peer_that_is_not_installed() -> None:
    output = run([*COMMAND, "--peers", "ours,dramatiq", "--only", "one-insert"], ROOT)
    figures = _figures(output)
    assert figures["what"][:2] == ["ours", "dramatiq (missing)"]
    for row in ("one-insert jobs/s, ours exactly once", "one-insert jobs/s, ours at least once"):
        ours, dramatiq, *_ = figures[row]
        assert _number(ours) > 0
        assert dramatiq == "-"
    assert "dramatiq is missing: dramatiq is not installed here" in output


def test_an_unknown_peer_is_named() -> None:
    with pytest.raises(ValueError, match="'celery' is none of ours, rq"):
        chosen("celery")
