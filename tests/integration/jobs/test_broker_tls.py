"""The broker over TLS: settings, URLs, and what is said when certificates are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from dataflow import DataFlow
from dataflow.errors import BrokerUnavailableError, ConfigurationError
from dataflow.jobs import Broker, JobQueue
from dataflow.settings import load_settings
from tests.redis_tls import TLSRedisServer
from tests.servers import RedisServer
from tests.toys import ToyApp
from worker.options import WorkerOptions
from worker.worker import Worker


@pytest.fixture
def server(new_server: Callable[..., Any]) -> TLSRedisServer:
    made: TLSRedisServer = new_server(TLSRedisServer)
    return made


def url_of(server: TLSRedisServer, **changed: str) -> str:
    """Everything in the URL, as redis-py reads it."""
    query = {
        "ssl_ca_certs": server.authority.certificate,
        "ssl_certfile": server.client_certificate,
        "ssl_keyfile": server.client_key,
    }
    return f"{server.url}?{urlencode({**query, **changed})}"


async def run_a_job(broker: Broker) -> None:
    job = await JobQueue("default", broker).enqueue_async("hello")
    assert (await Worker([ToyApp()], broker, WorkerOptions(burst=True)).run())["done"] == 1
    assert await job.wait_async(5) == {"n0": {}}
    await broker.close()


async def test_producers_and_workers_use_tls(server: TLSRedisServer) -> None:
    async with DataFlow(":memory:", name="tls", **server.settings()) as db:
        await run_a_job(db.broker)
        queue = db.queue("default", server.url)
        assert await queue.count_async() == 0
        await queue.broker.close()
    await run_a_job(Broker(url_of(server)))


async def test_wrong_certificates_are_refused_with_a_reason(server: TLSRedisServer) -> None:
    host = server.url.replace("localhost", "127.0.0.1")
    cases = {
        url_of(server, ssl_ca_certs=server.stranger.certificate): "not signed by the authority in redis_ssl_ca",
        url_of(server).replace(server.url, host): "is not for that host",
        f"{server.url}?ssl_ca_certs={server.authority.certificate}": "ask for a certificate of ours",
        url_of(server, ssl_ca_certs="/nowhere.crt"): "names a file that is not there",
        server.url.replace("rediss", "redis"): "needs rediss://",
    }
    for url, reason in cases.items():
        broker = Broker(url)
        with pytest.raises(BrokerUnavailableError, match=reason):
            await JobQueue("default", broker).enqueue_async("hello")
        with pytest.raises(BrokerUnavailableError, match=reason):
            await Worker([ToyApp()], broker).run()
        await broker.close()


async def test_tls_to_a_server_without_it(new_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflow.jobs.broker.REPLY_TIMEOUT", 0.5)
    plain: RedisServer = new_server(RedisServer)
    broker = Broker(plain.url.replace("redis://", "rediss://"))
    with pytest.raises(BrokerUnavailableError, match="must speak TLS at that port"):
        await JobQueue("default", broker).enqueue_async("hello")
    await broker.close()


def test_certificates_need_a_url_of_tls() -> None:
    settings = load_settings({"redis_url": "redis://:hunter2@host/0", "redis_ssl_ca": "/ca.crt"})
    with pytest.raises(ConfigurationError, match="one without TLS") as caught:
        settings.broker_url()
    assert "hunter2" not in str(caught.value)
    given = load_settings({"redis_url": "rediss://host/0?ssl_ca_certs=/mine.crt", "redis_ssl_ca": "/ca.crt"})
    assert given.broker_url() == "rediss://host/0?ssl_ca_certs=%2Fmine.crt"
    assert given.broker_url("redis://other/1") == "redis://other/1"
    assert given.broker_url("rediss://other/1") == "rediss://other/1?ssl_ca_certs=%2Fca.crt"
