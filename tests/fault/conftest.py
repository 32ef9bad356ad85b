"""An application with worker processes, and servers that a test may harm."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.servers import BinaryNotFoundError, RedisServer
from tests.worker_process import App


@pytest.fixture
async def app(tmp_path: Path, redis_url: str) -> AsyncIterator[App]:
    """An application on the session's Redis, emptied."""
    made = App(tmp_path, redis_url)
    await (await made.broker.client()).flushdb()
    yield made
    await made.broker.close()


@pytest.fixture
def durable_redis() -> Iterator[RedisServer]:
    """A Redis of this test's own, which keeps its data."""
    yield from _own(appendonly=True)


@pytest.fixture
def forgetful_redis() -> Iterator[RedisServer]:
    """A Redis of this test's own, which loses its data when it ends."""
    yield from _own(appendonly=False)


def _own(*, appendonly: bool) -> Iterator[RedisServer]:
    try:
        server = RedisServer(appendonly=appendonly)
    except BinaryNotFoundError as error:
        pytest.skip(str(error))
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
async def durable_app(tmp_path: Path, durable_redis: RedisServer) -> AsyncIterator[App]:
    """An application on ``durable_redis``."""
    made = App(tmp_path, durable_redis.url)
    yield made
    await made.broker.close()


@pytest.fixture
async def forgetful_app(tmp_path: Path, forgetful_redis: RedisServer) -> AsyncIterator[App]:
    """An application on ``forgetful_redis``."""
    made = App(tmp_path, forgetful_redis.url)
    yield made
    await made.broker.close()
