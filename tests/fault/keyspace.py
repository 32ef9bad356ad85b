"""What Redis holds, as tests look at it."""

from __future__ import annotations

import redis


def running(url: str) -> set[str]:
    """Keys of executions. Where no job runs there must be none."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return {key for key in client.scan_iter() if key.split(":")[1] in ("wip", "execution", "executions")} | set(
            client.scan_iter("rq:worker:*:executions")
        )


def lasting(url: str) -> set[str]:
    """Keys that never expire."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return {key for key in client.scan_iter(count=1_000) if client.ttl(key) == -1}
