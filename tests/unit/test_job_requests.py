"""What a request may say, and what a payload holds; without a broker."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from rq.job import Retry

from dataflow.errors import ConfigurationError, InputError, JobError, PayloadError
from dataflow.jobs import Broker, EnqueueRequest, JobQueue, entry
from dataflow.jobs.masking import mask_url
from dataflow.jobs.packing import COMPRESS_FROM, pack
from dataflow.jobs.queue import _request_of
from dataflow.jobs.wire import Payload, encode_payload, payload_of, read_payload
from dataflow.workflows.codec import MAX_SIZE
from tests.toys import chain


def fields(**options: Any) -> dict[str, Any]:
    """Fields of the hash of a job with these options."""
    request = EnqueueRequest(workflow="hello", **options)
    request.check()
    _, arguments = request.arguments("default", payload_of("hello", {}), "workflow hello", 300, "now")
    parents = int(arguments[9])
    pairs = arguments[11 + parents :]
    return {str(pairs[i]): pairs[i + 1] for i in range(0, len(pairs), 2)}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"job_id": "a b"}, "letters, digits"),
        ({"unique": True}, "needs a job_id"),
        ({"tenant_id": ""}, "1 to 64 characters"),
        ({"tenant_id": 7}, "1 to 64 characters"),
        ({"delay": 1, "at": datetime.now(UTC)}, "not both"),
        ({"delay": 1, "depends_on": "x"}, "not both"),
        ({"delay": -1}, "from 0"),
        ({"timeout": 0}, "positive"),
        ({"timeout": -2}, "positive"),
        ({"result_ttl": -2}, "result_ttl"),
        ({"failure_ttl": 1.5}, "failure_ttl"),
        ({"ordering_key": ""}, "1 to 200 characters"),
        ({"ordering_key": 7}, "1 to 200 characters"),
        ({"ordering_key": "k" * 201}, "1 to 200 characters"),
        ({"retry": -1}, "whole number from 1"),
        ({"retry": {"max": 2, "intervall": 3}}, "no 'intervall'"),
        ({"retry": {"max": 2, "interval": [1, -3]}}, "whole seconds"),
        ({"retry": {"max": 2, "interval": []}}, "whole seconds"),
        ({"meta": {"x": object()}}, "cannot be sent"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        fields(**options)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'job_id'"):
        _request_of({"workflow": "hello", "jobid": "x"})
    with pytest.raises(InputError, match="needs a 'workflow'"):
        _request_of({})


@pytest.mark.parametrize(
    ("retry", "times", "intervals"),
    [
        (3, 3, "[0]"),
        ({"max": 2}, 2, "[0]"),
        ({"max": 2, "interval": 5}, 2, "[5]"),
        ({"max": 2, "interval": (5, 10)}, 2, "[5, 10]"),
        (Retry(max=4, interval=[1, 2]), 4, "[1, 2]"),
    ],
)
def test_retries_in_all_their_forms(retry: Any, times: int, intervals: str) -> None:
    written = fields(retry=retry)
    assert (written["retries_left"], written["retry_intervals"]) == (times, intervals)


def test_timeouts_are_whole_seconds_as_rq_reads_them() -> None:
    assert fields()["timeout"] == 300
    assert fields(timeout=1.2)["timeout"] == 2
    assert fields(timeout=-1)["timeout"] == -1
    assert "retries_left" not in fields(retry=0)


@pytest.mark.parametrize("size", [10, COMPRESS_FROM * 3])
def test_a_payload_is_read_as_it_was_written(size: int) -> None:
    for tenant in (None, "t1"):
        payload = payload_of(chain("echo"), {"n0": {"text": "x" * size}}, tenant)
        data = pack(encode_payload(payload))
        assert read_payload(data) == payload
        assert (data[:1] == b"\x78") is (size > COMPRESS_FROM)


def test_a_workflow_is_encoded_once() -> None:
    workflow = chain("echo")
    assert payload_of(workflow, {}).document is payload_of(workflow, {"n0": {}}).document


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(b"\x01" + bytes(MAX_SIZE + 10), 9)
    with pytest.raises(PayloadError, match="more than"):
        read_payload(bomb)
    assert len(bomb) < 100_000


def test_a_payload_never_looks_compressed_when_it_is_not() -> None:
    assert pack(encode_payload(Payload(name="x")))[:1] != b"\x78"


def test_the_entry_point_refuses_and_says_who_can() -> None:
    with pytest.raises(JobError, match=r"'hello'.*dataflow worker"):
        entry.run(v=1, name="hello", inputs={})


def test_a_broker_masks_its_password_and_refuses_other_schemes() -> None:
    assert mask_url("redis://user:secret@host:6379/0") == "redis://user:***@host:6379/0"
    assert mask_url("redis://:secret@host/0") == "redis://:***@host/0"
    assert mask_url("redis://host:6379/0") == "redis://host:6379/0"
    assert Broker("rediss://:secret@host/0").masked_url == "rediss://:***@host/0"
    with pytest.raises(ConfigurationError, match="redis://"):
        Broker("amqp://:secret@host")


def test_a_queue_needs_a_usable_name() -> None:
    with pytest.raises(InputError):
        JobQueue("a,b", Broker("redis://host"))


def test_the_prefix_of_keys_comes_from_the_environment_as_in_rq() -> None:
    script = "from dataflow.jobs import keys; from rq.defaults import RQ_KEY_PREFIX as p; print(keys.QUEUES, p)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "RQ_KEY_PREFIX": "{mine}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["{mine}:queues", "{mine}"]
