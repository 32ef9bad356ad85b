"""Passwords and signing keys are in no log, repr or error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import redis

from dataflow import DataFlow
from dataflow.errors import BrokerUnavailableError, ConfigurationError, JobFailedError
from dataflow.jobs import JobQueue
from dataflow.jobs.masking import mask_url
from dataflow.settings import load_settings
from tests.servers import RedisServer
from tests.toys import ToyApp
from worker.admission import Admission
from worker.options import WorkerOptions
from worker.worker import Worker

SECRET = "hunter2-hunter2-hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://me:{SECRET}@host:6379/0", "redis://me:***@host:6379/0"),
        (f"redis://:{SECRET}@host/0", "redis://:***@host/0"),
        (f"rediss://me:{SECRET}#@host/0", "rediss://me:***@host/0"),
        (f"rediss://me:{SECRET}/@{SECRET}@host/0", "rediss://me:***@host/0"),
        (f"redis://host/0?username=me&password={SECRET}&db=2", "redis://host/0?username=me&password=***&db=2"),
        (f"unix:///run/redis.sock?password={SECRET}", "unix:///run/redis.sock?password=***"),
        ("redis://host:6379/0", "redis://host:6379/0"),
    ],
)
def test_urls_are_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_settings_do_not_show_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "database_url": f"postgresql://me:{SECRET}@host/shop",
        "redis_url": f"redis://me:{SECRET}@host/0",
        "signing_keys": {"k": SECRET},
        "cursor_secret": SECRET,
        "pools": {f"postgresql://me:{SECRET}@host/shop": {"pool_size": 3}},
    }
    settings = load_settings(given)
    db = DataFlow(name="secret", **given)
    queue = db.queue()
    for value in (settings, settings.signatures(), db, db.broker, queue, db.job("x"), queue.broker.masked_url):
        assert SECRET not in f"{value!r} {value}"
    assert settings.signatures() is not None

    wrong: list[dict[str, Any]] = [
        {"signing_keys": {"k": SECRET}, "signing_key_id": "other"},
        {"signing_keys": SECRET},
        {"signing_keys": {"k": [SECRET]}},
        {"redis_url": [SECRET]},
        {"database_url": {SECRET: 1}},
    ]
    for arguments in wrong:
        with pytest.raises(ConfigurationError) as caught:
            load_settings(arguments).signatures()
        assert SECRET not in str(caught.value)
    for variable in (SECRET, f'{{"k": ["{SECRET}"]}}', f'{{"k": "{SECRET}"'):
        monkeypatch.setenv("DATAFLOW_SIGNING_KEYS", variable)
        with pytest.raises(ConfigurationError, match="signing_keys") as caught:
            load_settings({})
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None


async def test_producers_and_workers_do_not_tell_theirs(
    new_server: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server: RedisServer = new_server(RedisServer)
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", SECRET)
    url = server.url.replace("//", f"//:{SECRET}@")
    said = []
    keys = {"signing_keys": {"k": f"key-{SECRET}"}}
    async with DataFlow(":memory:", name="tells", redis_url=url, **keys) as db:
        db.register_workflow("hello", ToyApp().workflows["hello"])
        await db.queue().enqueue_async("hello")
        unsigned = await JobQueue("default", db.broker).enqueue_async("hello")
        admission = Admission(db.settings.signatures())
        worker = Worker([ToyApp()], db.broker, WorkerOptions(burst=True), admission=admission)
        assert (await worker.run())["failed"] == 1
        with pytest.raises(JobFailedError) as failed:
            await unsigned.wait_async(1)
        said.append(str(failed.value))
        server.kill()
        with pytest.raises(BrokerUnavailableError) as caught:
            await db.queue().enqueue_async("hello")
        said.append(f"{caught.value} {caught.value.context}")
    assert "is not signed" in caplog.text
    assert SECRET not in caplog.text + "".join(said)
