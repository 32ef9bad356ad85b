"""Redis users with no more rights than docs/security.md gives them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from dataflow import DataFlow
from dataflow.cli.show import describe
from dataflow.cli.target import Target
from dataflow.errors import BrokerUnavailableError, JobFailedError
from dataflow.jobs import Broker, EnqueueRequest, JobQueue, JobStatus
from dataflow.jobs.control import send_command
from dataflow.jobs.fleet import read_workers
from dataflow.jobs.listing import REGISTRIES, list_jobs
from dataflow.jobs.prometheus import fleet_text
from dataflow.jobs.signatures import SigningKeys
from scheduler.scheduler import Scheduler
from tests.integration.jobs.conftest import LIMIT, until
from tests.servers import RedisServer
from tests.toys import ToyApp, chain
from worker.admission import Admission
from worker.options import WorkerOptions
from worker.worker import Worker

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/security.md").read_text()
RULES = {rule.split()[2]: rule for rule in re.findall(r"^ +(ACL SETUSER .*)$", TEXT, re.MULTILINE)}
KEYS = SigningKeys({"k": "a secret of the test's own"})

#: Commands that are not in a script.
OUTSIDE = {
    "producer": {"eval", "evalsha", "exec", "hget", "hmget", "llen", "multi", "publish", "xread", "xrevrange"},
    "operator": {
        "eval",
        "evalsha",
        "exec",
        "exists",
        "hget",
        "hgetall",
        "hmget",
        "llen",
        "lpos",
        "lrange",
        "multi",
        "publish",
        "scard",
        "smembers",
        "time",
        "xread",
        "xrevrange",
        "zcard",
        "zrange",
        "zrem",
        "zscore",
    },
    "worker": {"blmove", "eval", "evalsha", "ping", "subscribe"},
    "scheduler": {
        "eval",
        "evalsha",
        "exec",
        "hget",
        "hgetall",
        "multi",
        "ping",
        "publish",
        "smembers",
        "time",
        "xread",
        "xrevrange",
        "zrange",
    },
}
_JOBS, _SCHEDULES, _TRIGGERS = "dataflow/jobs/lua", "dataflow/schedules/lua", "dataflow/events/triggers/lua"
SCRIPTS = {
    "producer": " ".join(f"{_JOBS}/{name}.lua" for name in ("breaker", "cancel", "enqueue", "requeue")),
    "worker": "worker/lua/*.lua dataflow/services/lua/*.lua",
    "scheduler": f"scheduler/lua/*.lua dataflow/services/lua/*.lua {_SCHEDULES}/put.lua {_SCHEDULES}/remove.lua "
    f"{_TRIGGERS}/*.lua",
}
SCRIPTS["operator"] = f"{SCRIPTS['producer']} {_SCHEDULES}/[!s]*.lua {_TRIGGERS}/*.lua"
#: Functions that scripts use.
SHARED = [
    *(ROOT / _JOBS / f"{name}.lua" for name in ("common", "order", "put_job", "cancel_job")),
    ROOT / _SCHEDULES / "schedule.lua",
]


def commands_of(role: str) -> set[str]:
    """Commands in the scripts of a role, and in the shared functions that they use."""
    text = "".join(path.read_text() for pattern in SCRIPTS[role].split() for path in ROOT.glob(pattern))
    shared = [body for path in SHARED for body in re.split(r"\n(?:local )?function ", path.read_text())[1:]]
    functions = {re.match(r"\w+", body)[0]: body for body in shared}  # type: ignore[index]
    used: set[str] = set()
    while found := {name for name in functions if re.search(rf"\b{name}\(", text)} - used:
        used |= found
        text += "".join(functions[name] for name in found)
    calls = re.findall(r"\bp?call\(([^,)]*)", text)
    return {command.lower() for call in calls for command in re.findall(r"'([A-Z]+)'", call)}


@pytest.mark.parametrize("role", ["producer", "worker", "operator", "scheduler"])
def test_the_rules_allow_what_is_used_and_no_more(role: str) -> None:
    allowed = set(re.findall(r" \+(\S+)", RULES[role]))
    assert allowed == commands_of(role) | OUTSIDE[role], "docs/security.md"


@pytest.fixture
def server(new_server: Callable[..., Any]) -> RedisServer:
    made: RedisServer = new_server(RedisServer)
    with redis.Redis.from_url(made.url) as client:
        for rule in RULES.values():
            client.execute_command(*rule.split())
    return made


def url_for(server: RedisServer, role: str) -> str:
    return server.url.replace("//", f"//{role}:{role.upper()}-PASSWORD@")


async def look_around(place: Target, waiting: str, ended: str) -> None:
    """What an operator asks for."""
    for status in REGISTRIES:
        await list_jobs(place.broker, status=status)
    assert "It waits for" in (await describe(place, waiting, values=True))["waits"]
    await describe(place, ended, values=True)
    assert "dataflow_" in await fleet_text(place.broker)
    one, *_ = await read_workers(place.broker)
    assert await send_command(place.broker, one.name, "none")
    await place.broker.close()


async def test_producers_and_workers_need_no_more(server: RedisServer) -> None:
    producer, worker = Broker(url_for(server, "producer")), Broker(url_for(server, "worker"))
    queue = JobQueue("default", producer, signing_keys=KEYS)
    app = ToyApp()
    held = await queue.enqueue_async(chain("gate"), job_id="held")
    parent = await queue.enqueue_async("hello", delay=0.1, meta={"k": "v"})
    child = await queue.enqueue_async("hello", depends_on=parent)
    failing = await queue.enqueue_async(chain("fail"), retry={"max": 2, "interval": [0, 1]})
    canceled = await queue.enqueue_async("hello", depends_on=failing)
    ordered = await queue.enqueue_many_async([EnqueueRequest(workflow="hello", ordering_key="k") for _ in range(3)])
    await queue.enqueue_async("hello", job_id="twice")
    again = await queue.enqueue_async("hello", job_id="twice", at_front=True)
    assert await queue.count_async() == 4
    assert (await held.progress_async())["total"] == 1

    silent = Worker([ToyApp()], worker, WorkerOptions(lease=0.6, grace=0.0), admission=Admission(KEYS))
    running = Worker([app], worker, WorkerOptions(lease=0.6, grace=0.0), admission=Admission(KEYS))
    async with asyncio.timeout(LIMIT):
        first = asyncio.create_task(silent.run())
        await until(held, JobStatus.STARTED)
        await silent._heartbeat.stop()
        second = asyncio.create_task(running.run())
        assert await child.wait_async(LIMIT) == {"n0": {}}
        with pytest.raises(JobFailedError):
            await failing.wait_async(LIMIT)
        await again.wait_async(LIMIT)
        assert [event.status async for event in ordered[2].events_async(LIMIT)][-1] is JobStatus.FINISHED
        assert await failing.requeue_async()
        await look_around(Target(None, url_for(server, "operator")), canceled.id, again.id)
        await app.gate.reached.get()
        assert await canceled.cancel_async()
        assert await held.cancel_async()
        for each, task in ((silent, first), (running, second)):
            each.stop()
            await task
        burst = Worker([app], worker, WorkerOptions(burst=True, grace=0.0), admission=Admission(KEYS))
        await burst.run()
    await producer.close()
    await worker.close()
    with redis.Redis.from_url(server.url) as client:
        denied = {entry["object"] for entry in client.acl_log()} - {"client|setinfo"}
        used = {name.removeprefix("cmdstat_").split("|")[0] for name in client.info("commandstats")}
    assert denied == set(), "what a user asked for and may not"
    assert (OUTSIDE["producer"] | OUTSIDE["worker"]) - used <= {"eval"}, "what no user asked for"


async def test_schedulers_and_who_changes_schedules_need_no_more(server: RedisServer) -> None:
    app = DataFlow(":memory:", name="shop", redis_url=url_for(server, "operator"))
    begun = asyncio.Event()

    @app.actor
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    app.schedule(every=3_600, name="declared")(endless)
    schedules, broker = app.schedules, Broker(url_for(server, "scheduler"))
    worker = Worker([app], Broker(url_for(server, "worker")), WorkerOptions(grace=0.0))
    standby, leader = Scheduler([app], broker, lock_time=0.3), Scheduler([app], broker, lock_time=0.3)
    tasks = [asyncio.create_task(each.run()) for each in (worker, standby, leader)]
    async with asyncio.timeout(LIMIT):
        await schedules.add_async("often", endless, every=1, overlap="cancel_previous")
        await begun.wait()
        while (await schedules.get_async("often")).canceled < 2:
            await asyncio.sleep(0.02)
        await schedules.update_async("often", every=3_600, overlap="skip")
        await schedules.pause_async("often")
        await schedules.resume_async("often")
        await schedules.run_now_async("often")
        assert len(await schedules.list_async()) == 2
        assert await schedules.history_async("often")
        await schedules.remove_async("often")
        await app.triggers.add_async("mail", endless, "@order_created", inputs={})
        await app.triggers.pause_async("mail")
        await app.triggers.resume_async("mail")
        assert len(await app.triggers.list_async()) == 1
        await app.triggers.remove_async("mail")
        for each in (worker, standby, leader):
            each.stop()
        await asyncio.gather(*tasks)
        app.schedules._declared.clear()
        last = Scheduler([app], broker)
        ending = asyncio.create_task(last.run())
        await last.started.wait()
        last.stop()
        await ending
    await app.close_async()
    await broker.close()
    with redis.Redis.from_url(server.url) as client:
        assert {entry["object"] for entry in client.acl_log()} - {"client|setinfo"} == set()


@pytest.mark.parametrize("role", ["producer", "worker"])
def test_other_commands_and_keys_are_refused(server: RedisServer, role: str) -> None:
    with redis.Redis.from_url(url_for(server, role)) as client:
        for command in ("FLUSHALL", "KEYS *", "CONFIG GET *", "APPEND rq:x 1", "ACL LIST", "SCRIPT FLUSH", "MONITOR"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
        with pytest.raises(redis.exceptions.ResponseError, match="keys"):
            client.eval("return redis.call('HGET', 'secrets', 'x')", 0)
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*("PUBLISH elsewhere x" if role == "producer" else "SUBSCRIBE elsewhere").split())


async def test_missing_rights_are_named_and_wrong_passwords_not_shown(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "producer", "-hset")
        client.execute_command("ACL", "SETUSER", "worker", "-hset")
    for role in ("producer", "worker"):
        for url, reason in (
            (url_for(server, role), "docs/security.md lists"),
            (url_for(server, role).replace("PASSWORD", "hunter2"), "invalid username-password"),
        ):
            broker = Broker(url)
            work = Worker([ToyApp()], broker).run() if role == "worker" else JobQueue("q", broker).enqueue_async("x")
            with pytest.raises(BrokerUnavailableError, match=reason) as caught:
                await work
            assert "hunter2" not in str(caught.value)
            assert "PASSWORD" not in str(caught.value)
            await broker.close()
