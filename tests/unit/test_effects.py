"""What a run ledger knows a job by."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dataflow.errors import BreakerOpenError, DatabaseError, DatabaseUnavailableError
from dataflow.nodes.ledger import Entry
from dataflow.runtime.ledger import CodecRecord
from worker import effects
from worker.deliveries import Delivery
from worker.effects import Effects, record_of


def run_of(**options: bytes) -> tuple[str, bool]:
    record = record_of(Delivery("default", "job", "execution", b"", options))
    return record.run, record.again


def test_a_job_is_known_by_the_call_that_enqueued_it() -> None:
    assert run_of(x_token=b"token", created_at=b"then") == ("token", False)
    assert run_of(x_token=b"token", created_at=b"then", x_claimed=b"1") == ("token", True)


def test_a_job_of_another_program_is_known_by_its_id_and_time() -> None:
    assert run_of(created_at=b"then") == ("job@then", False)


def test_each_repetition_is_a_run_of_its_own() -> None:
    runs = {run_of(x_token=b"token", repeats_left=left) for left in (b"2", b"1", b"0")}
    assert runs == {("token.2", False), ("token.1", False), ("token.0", False)}


class Unanswering:
    """A ledger whose database does not answer."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.removals: asyncio.Queue[list[Entry]] = asyncio.Queue()

    async def forget(self, entries: Sequence[Entry]) -> None:
        self.removals.put_nowait(list(entries))
        raise self.error

    async def sweep(self, seconds: float) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error", [BreakerOpenError("open"), DatabaseUnavailableError("away"), DatabaseError("refused")], ids=type
)
async def test_a_database_that_does_not_answer_does_not_end_the_removals(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "PAUSE", 0)
    ledger = Unanswering(error)
    service = Effects(60)
    await service.start()
    for run in ("first", "second"):
        delivery = Delivery("default", run, "execution", b"", {})
        delivery.record = CodecRecord(run)
        delivery.record.written.append((ledger, Entry(run, "node")))
        service.finished(delivery)
        async with asyncio.timeout(5):
            assert await ledger.removals.get() == [Entry(run, "node")]
    await service.stop()
    assert ledger.removals.empty()
