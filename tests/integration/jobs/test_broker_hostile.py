"""What somebody may have written into Redis: nothing of it is run, unpickled or unpacked, and the worker goes on."""

from __future__ import annotations

import base64
import pickle
import resource
import zlib
from pathlib import Path
from typing import Any

import pytest

from dataflow.errors import InputError, JobFailedError, PayloadError
from dataflow.jobs import Broker, Job, JobQueue, JobStatus, keys
from dataflow.jobs.packing import PayloadLimits
from dataflow.jobs.serializer import ENTRY, RQSerializer, write_call
from tests.integration.jobs.conftest import Burst
from tests.toys import ToyApp, chain
from worker.admission import Admission
from worker.options import WorkerOptions
from worker.worker import Worker

HELLO: dict[str, Any] = {"v": 1, "name": "hello", "inputs": {}}


class Exploit:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


async def write(broker: Broker, job_id: str, data: bytes, **fields: Any) -> Job:
    client = await broker.client()
    await client.hset(keys.job(job_id), mapping={"data": data, "status": "queued", "origin": "default", **fields})
    await client.rpush(keys.queue("default"), job_id)
    return Job(job_id, broker)


async def test_a_pickle_is_never_loaded(queue: JobQueue, broker: Broker, burst: Burst, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    code = pickle.dumps(Exploit(trap))
    plain = write_call((ENTRY, None, (), HELLO))
    shown = plain[: plain.index(b".", plain.index(ENTRY.encode()) + len(ENTRY)) + 1]
    await write(broker, "data", code)
    await write(broker, "packed", zlib.compress(code))
    await write(broker, "behind", shown + code)
    meta = await write(broker, "meta", plain, meta=code)
    parent = await write(broker, "parent", code)
    child = await queue.enqueue_async("hello", depends_on=parent, allow_dependency_failures=True)
    result = await queue.enqueue_async("hello", job_id="result")

    assert await burst() == {"done": 3, "failed": 4, "stopped": 0, "retry": 0, "back": 0}
    for job_id in ("data", "packed", "behind", "parent"):
        with pytest.raises(JobFailedError, match=r"DF-802"):
            await Job(job_id, broker).wait_async(1)
    assert await child.wait_async(1) == {"n0": {}}
    with pytest.raises(PayloadError, match="not DataFlow's"):
        await meta.refresh_async()
    client = await broker.client()
    await client.delete(keys.results(result.id))
    await client.xadd(keys.results(result.id), {"type": 1, "return_value": base64.b64encode(code)})
    with pytest.raises(PayloadError, match="not DataFlow's"):
        await result.wait_async(1)
    for value in (code, shown + code):
        with pytest.raises(PayloadError):
            RQSerializer.loads(value)
    assert not trap.exists()
    pickle.loads(code)
    assert trap.exists(), "the trap works"


@pytest.mark.parametrize("name", ["os.system", "dataflow.jobs.entry.run.__globals__", "subprocess.run", ""])
async def test_nothing_is_imported_by_name(broker: Broker, burst: Burst, name: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    job = await write(broker, "named", write_call((name, None, (f"touch {trap}",), {})), retries_left=3)
    assert await burst() == {"done": 0, "failed": 1, "stopped": 0, "retry": 0, "back": 0}
    with pytest.raises(JobFailedError, match="imports nothing that a job names"):
        await job.wait_async(1)
    client = await broker.client()
    assert await client.zrange("rq:failed:default", 0, -1) == [b"named"]
    assert not trap.exists()


async def test_a_bomb_is_refused_and_not_unpacked(broker: Broker, app: ToyApp) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(256)) + packer.flush()
    large = write_call((ENTRY, None, (), {**HELLO, "inputs": {"n0": {"x": "y" * len(bomb)}}}))
    bombs = [await write(broker, f"bomb-{number}", bomb) for number in range(20)]
    longer = await write(broker, "longer", large)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = PayloadLimits(stored=len(bomb), unpacked=2 * 1024 * 1024)
    counts = await Worker([app], broker, WorkerOptions(burst=True), admission=Admission(limits=limits)).run()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert counts["failed"] == 21
    assert grown < 100, "MB; one of them unpacked is 256"
    for job in bombs:
        with pytest.raises(JobFailedError, match="more than 2,097,152 bytes when decompressed"):
            await job.wait_async(1)
    with pytest.raises(JobFailedError, match="max_payload_stored"):
        await longer.wait_async(1)


async def test_a_producer_keeps_the_limits_too(broker: Broker) -> None:
    queue = JobQueue("default", broker, limits=PayloadLimits(stored=2_000, unpacked=50_000))
    await queue.enqueue_async("hello", {"n0": {"x": "y" * 40_000}})
    with pytest.raises(InputError, match="max_payload_unpacked"):
        await queue.enqueue_async("hello", {"n0": {"x": "y" * 60_000}})
    with pytest.raises(InputError, match="max_payload_stored"):
        await queue.enqueue_async("hello", {"n0": {"x": "".join(map(str, range(5_000)))}})


async def test_depth_has_a_limit(broker: Broker, burst: Burst) -> None:
    deep = write_call((ENTRY, None, (), HELLO))
    at = deep.index(b"\xa6inputs") + 7
    deep = deep[:at] + b"\x81\xa1x" + b"\x91" * 200_000 + b"\xc0" + deep[at + 1 :]
    job = await write(broker, "deep", zlib.compress(deep))
    assert (await burst())["failed"] == 1
    with pytest.raises(JobFailedError, match="damaged"):
        await job.wait_async(1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timeout", "soon"), ("timeout", "1e3"), ("result_ttl", "-7"), ("result_ttl", "9" * 18), ("failure_ttl", "x"),
        ("failure_ttl", "9" * 400), ("retries_left", "many"), ("retry_intervals", "[1"), ("retry_intervals", '["x"]'),
        ("retry_intervals", "[-1]"), ("repeats_left", "x"), ("repeat_intervals", "[1"), ("x_deliveries", "some"),
    ],
)  # fmt: skip
async def test_numbers_that_are_none_fail_the_job_and_not_the_worker(
    broker: Broker, queue: JobQueue, burst: Burst, field: str, value: str
) -> None:
    job = await write(broker, "odd", write_call((ENTRY, None, (), HELLO)), **{field: value})
    good = await queue.enqueue_async("hello")
    assert await burst(concurrency=1) == {"done": 1, "failed": 1, "stopped": 0, "retry": 0, "back": 0}
    assert await good.wait_async(1) == {"n0": {}}
    client = await broker.client()
    assert field.encode() in await client.hget(keys.job(job.id), "x_error")
    assert await client.zrange("rq:failed:default", 0, -1) == [b"odd"]


async def test_keys_of_other_types_and_ids_that_are_no_text_lose_no_jobs(
    broker: Broker, queue: JobQueue, burst: Burst
) -> None:
    client = await broker.client()
    jobs = [await queue.enqueue_async(chain("echo")) for _ in range(2)]
    await client.set(keys.job("odd"), "no hash")
    await client.rpush(keys.queue("default"), "odd", "gone", b"\xff\xfe")
    await client.hset(b"rq:job:\xff\xfe", mapping={"data": b"x", "status": "queued", "origin": "default"})
    jobs.append(await queue.enqueue_async(chain("echo")))
    assert (await burst())["done"] == 3
    assert [(await job.refresh_async()).status for job in jobs] == [JobStatus.FINISHED] * 3


async def test_a_long_traceback_is_cut(broker: Broker, queue: JobQueue, burst: Burst) -> None:
    job = await queue.enqueue_async(chain("fail"))
    await burst()
    client = await broker.client()
    await client.delete(keys.results(job.id))
    bomb = base64.b64encode(zlib.compress(bytes(50 * 1024 * 1024), 9))
    await client.xadd(keys.results(job.id), {"type": 2, "exc_string": bomb})
    await job.refresh_async()
    assert job.error is not None
    assert len(job.error.traceback) <= 1024 * 1024 + 1
