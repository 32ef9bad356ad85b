"""Every tick happens once: the short forms of ``tests/fault/ticks.py``, with real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.ticks import PARTS, Ticking
from tests.servers import RedisServer


@pytest.mark.parametrize(("what", "times"), [("leader killed", 2), ("Redis killed", 2), ("clocks 30 s apart", 1)])
async def test_every_tick_happens_once(tmp_path: Path, durable_redis: RedisServer, what: str, times: int) -> None:
    async with Ticking(tmp_path, durable_redis) as ticking:
        ledger = await PARTS[what](ticking, times, 1.0)
        assert ledger.is_clean, f"{ledger}\n{ticking.logs()}"
        assert ledger.ticks >= 8
        assert ledger.kills + ledger.redis_kills == times
