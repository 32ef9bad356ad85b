"""``dataflow schedules`` as people use it, beside a real worker that schedules."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dataflow.cli import command_line
from dataflow.errors import ConfigurationError, InputError, ScheduleError, ScheduleNotFoundError
from tests.acceptance.programs import BIN, environment

SOURCE = """
from dataflow import DataFlow

db = DataFlow(":memory:", name="shop")

@db.schedule(cron="0 2 * * *", timezone="Europe/Berlin")
@db.actor
def report(days: int = 1, title: str = "") -> int:
    return days

depot = DataFlow(":memory:", name="depot")
both = [db, depot]
"""


@dataclass
class Shop:
    """The application, in a module of its own."""

    folder: Path
    module: str
    redis_url: str

    async def run(self, *line: str, app: str = "db", columns: int = 200) -> Result:
        """``dataflow schedules …`` within this process, in a thread, since it has an event loop of its own."""
        place = ["--app", f"{self.module}:{app}", "--redis-url", self.redis_url]
        command = ["schedules", *line, *place]
        return await asyncio.to_thread(
            CliRunner().invoke, command_line("schedules"), command, env={"COLUMNS": str(columns)}
        )

    async def says(self, *line: str, app: str = "db") -> str:
        """What it prints where all is well."""
        result = await self.run(*line, app=app)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    async def answers(self, *line: str) -> Any:
        return json.loads(await self.says(*line, "--json"))


@pytest.fixture
async def shop(tmp_path: Path, broker_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    name = f"shop_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    for variable in ("DATAFLOW_APP", "REDIS_URL", "DATAFLOW_REDIS_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield Shop(tmp_path, name, broker_url)
    sys.modules.pop(name, None)


async def test_a_schedule_is_added_changed_paused_resumed_and_removed(shop: Shop) -> None:
    said = await shop.says(
        "add", "weekly", "report", "--cron", "0 3 * * MON", "--tz", "Europe/Berlin", "--grace", "5m", "--overlap",
        "queue", "--queue", "mail", "--timeout", "60", "--at-front", "--inputs", '{"days": 1, "title": "a"}',
        "--input", "days=7", "--meta", "team=blue", "--end", "2999-01-01",
    )  # fmt: skip
    assert said.startswith("weekly: active, cron 0 3 * * MON, Europe/Berlin, until 2998-12-31 23:00:00 UTC, next at ")
    told = await shop.answers("show", "weekly", "--values")
    assert told["declaration"] == {
        "name": "weekly", "workflow": "report", "cron": "0 3 * * MON", "timezone": "Europe/Berlin", "grace": 300.0,
        "overlap": "queue", "end": "2998-12-31T23:00:00+00:00",
        "options": {
            "queue": "mail", "timeout": 60.0, "at_front": True, "inputs": {"days": 7, "title": "a"},
            "meta": {"team": "blue"},
        },
    }  # fmt: skip
    assert (told["instance"], told["state"], told["is_declared"]) == ("shop", "active", False)
    ahead = [datetime.fromisoformat(moment) for moment in told["ahead"]]
    assert told["next_due"] == told["ahead"][0]
    assert [(moment.weekday(), moment.minute) for moment in ahead] == [(0, 0)] * 3
    assert (await shop.answers("show", "weekly"))["declaration"]["options"]["inputs"] == {
        "days": "int",
        "title": "str(1)",
    }

    await shop.says("update", "weekly", "--every", "2h", "--unset", "timeout", "--unset", "end", "--input", "days=3")
    told = await shop.answers("show", "weekly", "--values")
    assert (told["when"], told["declaration"]["options"]["inputs"]) == ("every 2 h", {"days": 3})
    assert not {"cron", "end"} & told["declaration"].keys()
    assert "timeout" not in told["declaration"]["options"]

    assert await shop.says("pause", "weekly", "--reason", "we move") == "weekly: paused, every 2 h\n"
    shown = await shop.says("show", "weekly")
    assert "we move" in shown
    assert '{"days":"int"}' in shown
    assert [one["name"] for one in (await shop.answers("list", "--state", "paused"))["schedules"]] == ["weekly"]
    assert (await shop.answers("list", "--state", "active"))["schedules"] == []
    assert (await shop.says("resume", "weekly")).startswith("weekly: active, every 2 h, next at ")

    job = (await shop.says("run-now", "weekly")).strip()
    assert job.startswith("shop-weekly-")
    (tick,) = await shop.answers("history", "weekly")
    assert (tick["what"], tick["job_id"], tick["count"]) == ("by hand", job, 1)
    assert await shop.says("remove", "weekly") == "weekly: removed\n"
    assert (await shop.answers("list"))["schedules"] == []
    assert job in await shop.says("history", "weekly"), "known for a day"


async def test_date_times_are_meant_in_the_zone_of_the_schedule(shop: Shop) -> None:
    await shop.says(
        "add", "eve", "report", "--tz", "Europe/Berlin", "--at", "2999-12-24T18:00", "--at", "2999-12-24T19:00+02:00"
    )
    told = await shop.answers("show", "eve")
    assert told["ahead"] == ["2999-12-24T17:00:00Z"], "both are that moment"
    await shop.says("update", "eve", "--at", "2999-07-01")
    assert (await shop.answers("show", "eve"))["next_due"] == "2999-06-30T22:00:00Z"
    assert "2999-06-30 22:00:00 (Mon 00:00:00 CEST)" in await shop.says("show", "eve")


async def test_list_tells_who_leads_what_is_next_and_how_the_last_one_ended(shop: Shop) -> None:
    result = await shop.run("list")
    assert "no scheduler runs" in result.stdout
    assert "report: declared in the code" in result.stderr
    await shop.says("add", "often", "report", "--every", "1", "--jitter", "0.1", "--input", "days=2")
    command = [BIN / "dataflow", "worker", f"{shop.module}:db", "--with-scheduler"]
    log = shop.folder / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            command, cwd=shop.folder, env=environment(REDIS_URL=shop.redis_url), stdout=output, stderr=output
        )
    try:
        async with asyncio.timeout(60):
            while True:
                told = await shop.answers("list")
                found = {one["name"]: one for one in told["schedules"]}
                if "report" in found and found["often"]["finished"] and told["leaders"]["shop"]:
                    break
                assert worker.poll() is None, log.read_text()
        often = found["often"]
        assert often["last_outcome"] == "finished"
        assert often["last_job"].startswith("shop-often-")
        assert datetime.fromisoformat(often["last_due"]) <= datetime.fromisoformat(often["last_ended"])
        assert (found["report"]["is_declared"], found["report"]["next_due"] is None) == (True, False)
        table = await shop.says("list")
        assert f"2 schedule(s) of shop, {told['leaders']['shop']} leads" in table
        assert "finished" in table
        assert "declared in the code" not in (await shop.run("list")).stderr
        assert "queued" in await shop.says("history", "often")
        assert f"last outcome finished at {datetime.now(UTC):%Y-}" in await shop.says("show", "often")
    finally:
        worker.terminate()
        assert worker.wait(30) == 0, log.read_text()
    assert (await shop.answers("list"))["leaders"] == {"shop": None}, "it left the lead"
    assert isinstance((await shop.run("remove", "report")).exception, ScheduleError)


async def test_what_was_skipped_or_missed_and_what_is_broken_stands_in_the_list(shop: Shop) -> None:
    from dataflow.jobs import Broker, keys

    await shop.says("add", "often", "report", "--every", "60")
    broker = Broker(shop.redis_url)
    client: Any = await broker.client()
    values = {"skipped": 3, "missed": 4, "state": "broken", "reason": "No workflow is registered as [red]"}
    await client.hset(keys.schedule("shop", "often"), mapping=values)
    await broker.close()
    (line,) = [line for line in (await shop.says("list")).splitlines() if line.startswith("often")]
    assert "broken" in line
    table = await shop.says("list")
    for words in ("3 skipped", "4 missed", "No workflow is registered as [red]"):
        assert words in table
    assert "3 skipped, 4 missed" in await shop.says("show", "often")
    narrow = (await shop.run("list", columns=80)).stdout
    assert "next (UTC)  last (UTC)" in narrow, "headings are not folded"


async def test_of_several_instances_one_is_named(shop: Shop) -> None:
    result = await shop.run("show", "report", app="both")
    assert isinstance(result.exception, InputError)
    assert "shop, depot" in str(result.exception)
    result = await shop.run("list", "--instance", "depto", app="both")
    assert "Did you mean 'depot'" in str(result.exception)
    await shop.says("add", "often", "report", "--every", "60", "--instance", "shop", app="both")
    tables = await shop.says("list", app="both")
    assert "1 schedule(s) of shop" in tables
    assert "0 schedule(s) of depot" in tables


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--cron", "61 * * * *"], "minute 61 of cron '61 * * * *'"),
        (["--cron", "0 2 * * *", "--tz", "Europe/Berln"], "Did you mean 'Europe/Berlin'"),
        (["--at", "24.12.2999"], "--at '24.12.2999' is no ISO date-time"),
        (["--every", "60", "--start", "soon"], "--start 'soon' is no ISO date-time"),
        (["--every", "60", "--end", "2999-13-01"], "--end '2999-13-01' is no ISO date-time"),
        (["--every", "soon"], "--every 'soon' is no length of time"),
        (["--every", "60", "--jitter", "1x"], "--jitter '1x' is no length of time"),
        (["--every", "60", "--grace", "-5"], "--grace '-5' is no length of time"),
        (["--every", "0"], "every is a number of seconds from 1"),
        (["--every", "60", "--cron", "@daily"], "one of cron, every and at"),
        ([], "one of cron, every and at"),
        (["--every", "60", "--input", "days"], "--input 'days' is not key=value"),
        (["--every", "60", "--input", "days=1", "--input", "days=2"], "--input days is given twice"),
        (["--every", "60", "--input", "dasy=1"], "no parameter 'dasy'"),
        (["--every", "60", "--inputs", "{"], "--inputs is no JSON"),
        (["--every", "60", "--inputs", "[1]"], "--inputs is no JSON object"),
        (["--every", "60", "--meta", "=blue"], "--meta '=blue' is not key=value"),
        (["--every", "60", "--overlap", "never"], "overlap is one of skip"),
        (["--every", "60", "--misfire", "run_all"], "misfire='run_all'"),
        (["--every", "60", "--timeout", "0"], "timeout is a positive number"),
    ],
)
async def test_a_wrong_argument_is_named(shop: Shop, line: list[str], words: str) -> None:
    result = await shop.run("add", "wrong", "report", *line)
    assert isinstance(result.exception, ScheduleError)
    assert words in str(result.exception)
    assert (await shop.answers("list"))["schedules"] == []


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        (["add", "a", "reprot", "--every", "60"], ScheduleError, "Did you mean 'report'"),
        (["add", "a:b", "report", "--every", "60"], ScheduleError, "name is 1 to 100 letters"),
        (["show", "nightly"], ScheduleNotFoundError, "There is no schedule 'nightly'"),
        (["history", "nightly"], ScheduleNotFoundError, "There is no schedule 'nightly'"),
        (["update", "nightly", "--every", "60"], ScheduleNotFoundError, "There is no schedule 'nightly'"),
        (["update", "nightly"], InputError, "Nothing is to be changed"),
        (["update", "nightly", "--unset", "cron"], ScheduleError, "--unset takes no 'cron'"),
        (["update", "nightly", "--queue", "a", "--unset", "queue"], InputError, "queue is set and unset"),
        (["list", "--state", "broke"], InputError, "Did you mean 'broken'"),
    ],
)
async def test_what_is_wrong_is_said(shop: Shop, line: list[str], error: type[Exception], words: str) -> None:
    result = await shop.run(*line)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)


async def test_without_an_application_or_a_broker_the_command_says_how_to_name_it(shop: Shop) -> None:
    async def exception(*line: str) -> BaseException | None:
        return (
            await asyncio.to_thread(CliRunner().invoke, command_line("schedules"), ["schedules", "list", *line])
        ).exception

    assert "--app app:db" in str(await exception())
    without = await exception("--app", f"{shop.module}:db")
    assert isinstance(without, ConfigurationError)
    assert "--redis-url" in str(without)


def test_every_command_teaches_with_an_example() -> None:
    from dataflow.cli.schedules import app

    for command in app.registered_commands:
        assert command.callback is not None
        assert "Example: dataflow " in (command.callback.__doc__ or "")
