"""``dataflow events`` as people use it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dataflow.cli import command_line
from dataflow.cli.events import parse_since
from dataflow.errors import EventError, InputError
from dataflow.jobs import keys
from tests.integration.events.stage import Stage, given

SOURCE = """
from dataflow import DataFlow
from tests.integration.events.lines import declare

db = DataFlow(":memory:", name="stage", redis_url={url!r})
declare(db)
"""


@pytest.fixture
def app(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The application of the stage, as commands name it."""
    (tmp_path / "events_app.py").write_text(SOURCE.format(url=redis_url))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "events_app", raising=False)
    return "events_app:db"


async def says(*line: str) -> str:
    """What the command prints where all is well."""
    result = await asyncio.to_thread(
        CliRunner().invoke, command_line("events"), ["events", *line], env={"COLUMNS": "220"}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_what_is_there_is_shown(stage: Stage, app: str) -> None:
    ids = await stage.publish(("items", 1), ("@paid", 2), ("items", 3))
    lines = (await says(app, "--no-follow")).splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        f"{ids[0]} create items 1 name: 'x', count: 1",
        f"{ids[2]} create items 3 name: 'x', count: 3",
    ]
    assert "message paid 2" in await says(app, "@paid", "--no-follow", "--since", "1h")
    shown = await says(app, "Item", "--no-follow", "--filter", '{"id": {"$gt": 1}}', "--json")
    assert json.loads(shown)["after"] == {"id": 3, "name": "x", "count": 3}
    assert await says(app, "--no-follow", "--since", ids[0], "--operations", "delete") == ""
    with pytest.raises(InputError, match="no JSON"):
        await says(app, "--filter", "{")


async def test_it_follows_until_it_is_interrupted(stage: Stage, app: str, tmp_path: Path) -> None:
    await stage.items(1)
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dataflow.cli", "events", app, "--since", "start",
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}", "PATH": "", "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert command.stdout is not None
    async with asyncio.timeout(20):
        assert b"create items 1 " in await command.stdout.readline()
        await stage.items(2)
        assert b"create items 2 " in await command.stdout.readline()
        command.send_signal(signal.SIGINT)
        assert await command.wait() == 0


async def test_streams_and_who_is_behind(stage: Stage, app: str) -> None:
    ids = await stage.items(1, 2, 3)
    reader = stage.read("Item", group="billing", since="start")
    assert await given(reader, 1) == [1]
    client = await stage.app.broker.client()
    await client.hset(keys.event_cursors("stage", "items"), "reader:nightly", ids[2])
    shown = await says(app, "--streams")
    assert "items" in shown
    assert "group:billing" in shown
    told: list[dict[str, Any]] = json.loads(await says(app, "--streams", "--json"))
    assert [(info["name"], info["length"], info["published"]) for info in told] == [("items", 3, 3)]
    assert [(one["name"], one["behind"], one["pending"]) for one in told[0]["readers"]] == [
        ("group:billing", 2, 1),
        ("reader:nightly", 0, 0),
    ]
    await reader.aclose()
    assert "forgotten" in await says(app, "--forget", "group:billing")
    assert "forgotten" in await says(app, "--forget", "reader:nightly")
    with pytest.raises(InputError, match="Nobody called"):
        await says(app, "--forget", "reader:nightly")
    assert json.loads(await says(app, "--streams", "--json"))[0]["readers"] == []


async def test_dead_letters_are_shown_and_put_back(stage: Stage, app: str) -> None:
    ids = await stage.items(1)
    async with stage.read("Item", group="g", since="start", idle=0.05, attempts=1) as reader:
        assert await given(reader, 1) == [1]
    last = stage.read("Item", group="g", idle=0.05, attempts=1)
    with pytest.raises(TimeoutError):
        await given(last, 1, 0.3)
    [letter] = json.loads(await says(app, "--dead", "--json"))
    assert (letter["id"], letter["reader"], letter["deliveries"]) == (ids[0], "group:g", 1)
    assert "never done" in await says(app, "--dead")
    assert f"group:g gets the event {ids[0]} of items again" in await says(app, "--retry", letter["key"])
    assert await given(last, 1) == [1]
    with pytest.raises(EventError, match="no dead letter"):
        await says(app, "--retry", letter["key"])


def test_since() -> None:
    assert parse_since(None) is None
    assert parse_since("start") == "start"
    assert parse_since("15m") == timedelta(minutes=15)
    assert parse_since("5-0") == "5-0"
    assert parse_since("2026-11-22T03:00") == datetime(2026, 11, 22, 3, tzinfo=UTC)
    with pytest.raises(InputError):
        parse_since("soon")
