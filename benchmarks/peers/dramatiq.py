"""dramatiq, whose worker is threads in one process below a supervisor. No bulk form: a group sends one by one."""

from __future__ import annotations

from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.contract import REDIS_URL, Kind, do_nothing

broker = RedisBroker(url=REDIS_URL)
dramatiq.set_broker(broker)


@dramatiq.actor
def nothing(text: str) -> None:
    """A job that does nothing."""
    do_nothing()


class DramatiqProducer:
    """See contract.Producer."""

    async def open(self) -> None:
        broker.client.ping()

    def enqueue_sync(self, kind: Kind, payload: str) -> None:
        nothing.send(payload)

    async def enqueue(self, kind: Kind, payload: str) -> None:
        self.enqueue_sync(kind, payload)

    async def enqueue_many(self, kind: Kind, payloads: Sequence[str]) -> None:
        for payload in payloads:
            self.enqueue_sync(kind, payload)


producer = DramatiqProducer()
