"""The chaos monkey's short form; ``make chaos`` is the long one."""

from __future__ import annotations

import pytest

from tests.fault.chaos import Plan, run
from tests.servers import BinaryNotFoundError, RedisServer


async def test_nothing_is_lost_and_nothing_ends_twice_while_workers_and_redis_are_killed() -> None:
    try:
        RedisServer.program()
    except BinaryNotFoundError as error:
        pytest.skip(str(error))
    plan = Plan(
        jobs=2_000, nap=(0.0, 0.8), lease=1.5,
        worker_kill=(1.5, 4.0), redis_kill=(5.0, 9.0), redis_away=(0.0, 1.0), limit=90.0,
    )  # fmt: skip
    ledger = await run(plan)
    print(ledger)
    assert ledger.is_clean, str(ledger)
    assert ledger.effects == ledger.enqueued == 2_000
    assert ledger.worker_kills >= 3
    assert ledger.redis_kills >= 1
    assert ledger.reruns <= ledger.worker_kills * plan.concurrency
