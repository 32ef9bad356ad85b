"""``dataflow worker`` with signing keys, as people set them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataflow import DataFlow, WorkflowBuilder
from dataflow.errors import JobFailedError
from tests.acceptance.programs import BIN, run

APP = """
from dataflow import DataFlow, WorkflowBuilder

db = DataFlow(":memory:")
other = DataFlow(":memory:", name="other", signing_keys={"2026-01": "another secret, just as long"})
both = [db, other]

@db.workflow
def hello():
    workflow = WorkflowBuilder("hello")
    workflow.add_node("PythonCodeNode", "greet", {"code": "result = 'hello'"})
    return workflow
"""
KEYS = {"2026-01": "a secret of the test's own"}


def work(folder: Path, redis_url: str, *options: str, app: str = "shop:db", keys: dict[str, str] | None = None) -> str:
    """What a burst says."""
    (folder / "shop.py").write_text(APP)
    variables = {"DATAFLOW_SIGNING_KEYS": json.dumps(keys)} if keys else {}
    return run([BIN / "dataflow", "worker", app, "--burst", *options], folder, REDIS_URL=redis_url, **variables)


def producer(name: str, redis_url: str, **settings: object) -> DataFlow:
    db = DataFlow(":memory:", name=name, redis_url=redis_url, **settings)
    workflow = WorkflowBuilder("hello")
    workflow.add_node("PythonCodeNode", "greet", {"code": "result = 'not this one'"})
    db.register_workflow("hello", workflow)
    return db


def test_keys_from_the_environment_are_asked_for_and_can_be_made_optional(tmp_path: Path, broker_url: str) -> None:
    with producer("signs", broker_url, signing_keys=KEYS) as signs, producer("does-not", broker_url) as does_not:
        signed, unsigned = signs.queue().enqueue("hello"), does_not.queue().enqueue("hello")
        output = work(tmp_path, broker_url, keys=KEYS)
        assert signed.wait(5) == {"greet": {"result": "hello"}}
        with pytest.raises(JobFailedError, match="is not signed.*--no-require-signature"):
            unsigned.wait(5)
        assert "1 done, 1 failed" in output
        assert KEYS["2026-01"] not in output

        unsigned = does_not.queue().enqueue("hello")
        work(tmp_path, broker_url, "--no-require-signature", keys=KEYS)
        assert unsigned.wait(5) == {"greet": {"result": "hello"}}


def test_keys_that_are_missing_or_contradict_each_other_are_told_at_the_start(tmp_path: Path, redis_url: str) -> None:
    with pytest.raises(AssertionError, match="there are no keys to verify"):
        work(tmp_path, redis_url, "--require-signature")
    with pytest.raises(AssertionError, match="different secrets for the signing key '2026-01'"):
        work(tmp_path, redis_url, app="shop:both", keys=KEYS)
