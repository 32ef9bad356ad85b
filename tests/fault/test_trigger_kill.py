"""Rows = events = effects, whoever is killed: the short forms of ``tests/fault/triggers.py``, with real processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault.triggers import SERVERS, Chain, victims_of
from tests.servers import RedisServer, Server


@pytest.mark.parametrize("kind", SERVERS)
async def test_one_event_has_one_effect_whoever_is_killed(
    tmp_path: Path, durable_redis: RedisServer, new_server: Callable[[type[Server]], Server], kind: str
) -> None:
    server_class = SERVERS[kind]
    server = new_server(server_class) if server_class is not None else None
    victims = victims_of(kind, 5)
    async with Chain(tmp_path, server, durable_redis) as chain:
        ledger = await chain.run(victims)
        assert ledger.is_clean, f"{ledger}\n{chain.logs()}"
        assert ledger.events > 50
        assert ledger.kills.total() == len(victims)
