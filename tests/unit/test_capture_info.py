"""How a capture fares, from what it noted in Redis."""

from __future__ import annotations

import pytest

from dataflow.jobs.captures import SILENCE, CaptureInfo, _info

NOW = 1_800_000_000.0


def noted(seen_ago: float) -> dict[str, str]:
    return {"seen_ms": str(int((NOW - seen_ago) * 1e3)), "epoch": "2", "mechanism": "binlog", "lag_ms": "12"}


@pytest.mark.parametrize(
    ("seen_ago", "taken", "state"),
    [(1, True, "running"), (SILENCE + 1, True, "silent"), (1, False, "stopped"), (SILENCE + 1, False, "stopped")],
)
def test_it_runs_while_a_process_has_the_right_and_can_read(seen_ago: float, taken: bool, state: str) -> None:
    info = _info("shop", noted(seen_ago), NOW, taken=taken)
    assert (info.state, info.lag, info.epoch) == (state, 0.012, 2)
    assert info.silence == pytest.approx(seen_ago, abs=0.01)


def test_one_that_never_ran() -> None:
    assert _info("shop", {}, NOW, taken=False) == CaptureInfo("shop", "stopped", "", 0, "", 0, None, None, {})


def test_a_clock_of_capture_that_is_ahead_is_no_time_travel() -> None:
    assert _info("shop", noted(-5), NOW, taken=True).silence == 0


def test_snapshots_are_told_by_table() -> None:
    fields = {**noted(0), "snapshot:items": '{"state": "running", "cursor": [7], "rows": 100}'}
    assert _info("shop", fields, NOW, taken=True).snapshots == {"items": {"state": "running", "rows": 100}}
