"""RQ. Its worker runs one job at a time; SimpleWorker spares the process per job. Bulk: ``enqueue_many``."""

from __future__ import annotations

from collections.abc import Sequence

from redis import Redis
from rq import Queue

from benchmarks.peers.contract import REDIS_URL, Kind, do_nothing


def nothing(text: str) -> None:
    """A job that does nothing."""
    do_nothing()


class RQProducer:
    """See contract.Producer."""

    def __init__(self) -> None:
        self.queue = Queue("default", connection=Redis.from_url(REDIS_URL))

    async def open(self) -> None:
        self.queue.connection.ping()

    def enqueue_sync(self, kind: Kind, payload: str) -> None:
        self.queue.enqueue(nothing, payload)

    async def enqueue(self, kind: Kind, payload: str) -> None:
        self.enqueue_sync(kind, payload)

    async def enqueue_many(self, kind: Kind, payloads: Sequence[str]) -> None:
        self.queue.enqueue_many([Queue.prepare_data(nothing, (payload,)) for payload in payloads])


producer = RQProducer()
