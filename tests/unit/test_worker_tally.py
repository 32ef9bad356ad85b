"""What a worker counts, how it is published, and how command lines name queues."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dataflow.errors import ConfigurationError
from dataflow.jobs.metrics import BOUNDS, NAMES, Histogram, Series, field_name
from dataflow.jobs.times import format_time
from worker.command import _queues
from worker.deliveries import Delivery
from worker.options import WorkerOptions
from worker.outcome import Outcome
from worker.tally import MOST_SERIES, Tally

BEGAN = datetime(2026, 1, 31, 12, 59, 59, 900_000, tzinfo=UTC).timestamp()


def outcome(kind: str = "done", *, workflow: str = "report", seconds: float = 0.02, delay: float = 0.3) -> Outcome:
    queued = format_time(datetime.fromtimestamp(BEGAN - delay, UTC)).encode()
    delivery = Delivery("high", "id", "e", b"", {"enqueued_at": queued}, started=BEGAN, workflow=workflow)
    return Outcome(kind, delivery, ended=BEGAN + seconds)


def test_runs_are_counted_by_their_end_and_times() -> None:
    tally = Tally()
    for kind in ("done", "done", "failed", "retry", "back"):
        tally.observe(outcome(kind))
    series = Series(tally.counts["high", "report"])
    assert [series.ends(kind) for kind in ("done", "failed", "stopped", "retry", "back")] == [2, 1, 0, 1, 1]
    assert series.run_time.sum == pytest.approx(0.08, abs=1e-5)
    assert series.queue_delay.sum == pytest.approx(1.2, abs=1e-4)
    assert series.run_time.buckets[BOUNDS.index(0.025)] == 4
    assert series.queue_delay.buckets[BOUNDS.index(0.5)] == 4


@pytest.mark.parametrize("delay", [0.0, 59.0, 61.5, 86_400.0, -5.0])
def test_the_delay_is_right_across_minutes_and_never_negative(delay: float) -> None:
    tally = Tally()
    for one in (1.0, delay, delay):
        tally.observe(outcome(delay=one))
    assert Series(tally.counts["high", "report"]).queue_delay.sum == pytest.approx(1.0 + 2 * max(delay, 0.0), abs=1e-4)


@pytest.mark.parametrize("text", [b"", b"\xff", b"soon", b"2026-01-31T12:59:inf", b"2026-01-31T12:59:-infZ"])
def test_a_time_that_is_none_counts_as_no_long_delay(text: bytes) -> None:
    tally = Tally()
    one = outcome()
    one.delivery.options["enqueued_at"] = text
    tally.observe(one)
    assert Series(tally.counts["high", "report"]).queue_delay.sum <= 1e8


def test_a_batch_stays_the_same_until_it_is_confirmed() -> None:
    tally = Tally()
    tally.observe(outcome())
    first = tally.batch()
    tally.observe(outcome())
    assert tally.batch() == first
    number, grown = first[0], first[1]
    assert dict(zip(first[2::2], first[3::2], strict=True))[field_name("done", "high", "report")] == 1
    assert grown == (len(first) - 2) / 2
    tally.confirm(int(number))
    second = tally.batch()
    assert second[0] != number
    assert dict(zip(second[2::2], second[3::2], strict=True))[field_name("done", "high", "report")] == 1
    tally.confirm(int(second[0]))
    assert tally.batch()[1:] == [0]


def test_made_up_names_of_workflows_do_not_grow_without_end() -> None:
    tally = Tally()
    for i in range(MOST_SERIES + 50):
        tally.observe(outcome(workflow=f"report-{i}"))
    assert len(tally.counts) == MOST_SERIES + 1
    assert Series(tally.counts["high", "other"]).ends("done") == 50


def test_quantiles_lie_in_the_right_bucket() -> None:
    buckets = [0] * (len(BOUNDS) + 1)
    buckets[BOUNDS.index(0.01)] = 90
    buckets[BOUNDS.index(1.0)] = 10
    histogram = Histogram(buckets, 5.0)
    assert histogram.count == 100
    assert 0.005 < (histogram.quantile(0.5) or 0) < 0.01
    assert 0.5 < (histogram.quantile(0.99) or 0) <= 1.0
    assert histogram.cumulative[-1] == 100
    assert Histogram([0] * len(buckets), 0.0).quantile(0.5) is None
    assert Histogram([*[0] * len(BOUNDS), 7], 1e5).quantile(0.5) == BOUNDS[-1]
    assert len(Series().numbers) == len(NAMES)


@pytest.mark.parametrize(
    ("text", "names", "limits"),
    [
        ("default", ("default",), {}),
        ("high, low:5", ("high", "low"), {"low": 5}),
        ("eu:orders,eu:mail:2", ("eu:orders", "eu:mail"), {"eu:mail": 2}),
    ],
)
def test_queues_on_a_command_line(text: str, names: tuple[str, ...], limits: dict[str, int]) -> None:
    assert _queues(text) == (names, limits)


@pytest.mark.parametrize("options", [{"limits": {"default": 0}}, {"limits": {"other": 1}}, {"prefetch": -1}])
def test_limits_that_cannot_be_meant_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        WorkerOptions(**options)  # type: ignore[arg-type]
