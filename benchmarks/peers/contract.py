"""What each job runner does in the benchmark. Its module runs in its own virtualenv, so this needs only Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, Protocol

#: What a job does: nothing; one insert; one insert that a job which is started again may repeat.
Kind = Literal["nothing", "insert", "insert_repeatable"]

REDIS_URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
DATABASE_URL = os.environ.get("BENCH_DATABASE_URL", "")
#: Connections to the database, of each worker.
POOL = 10
#: Jobs that a library without a bulk form is asked to enqueue at once.
AT_ONCE = 100


#: Where jobs that do nothing leave a byte each; "" while one measures.
_MARKS = os.environ.get("BENCH_MARKS", "")


def do_nothing() -> None:
    """The body of a job that does nothing, which a check can still count."""
    if _MARKS:
        file = os.open(_MARKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, b".")
        os.close(file)


class Producer(Protocol):
    """Enqueues jobs. Each module has one, named ``producer``; payloads are texts."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def enqueue(self, kind: Kind, payload: str) -> None:
        """Enqueue one job, as asynchronous code does if the library has a way for it."""
        ...

    async def enqueue_many(self, kind: Kind, payloads: Sequence[str]) -> None:
        """Enqueue many jobs by the quickest way that the library has."""
        ...


class SynchronousProducer(Producer, Protocol):
    """A producer that also has a way for synchronous code."""

    def enqueue_sync(self, kind: Kind, payload: str) -> None:
        """Enqueue one job."""
        ...


class DatabaseProducer(Producer, Protocol):
    """The producer that also makes the table."""

    async def create_tables(self) -> None:
        """Create the table ``bench_orders``, into which jobs of all libraries insert."""
        ...
