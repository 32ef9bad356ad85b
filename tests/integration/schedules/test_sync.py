"""What the code declares, what is changed at run time, and a scheduler that starts with other code."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from dataflow import DataFlow
from dataflow.errors import ConfigurationError, ScheduleError, ScheduleNotFoundError
from dataflow.jobs import keys
from scheduler.scheduler import Scheduler
from tests.integration.schedules.conftest import (
    NewApp,
    Scheduling,
    decided,
    put_back,
    reached,
    until,
    with_report,
    work,
)

HOUR = 3600


def release(new_app: NewApp, **declared: object) -> DataFlow:
    """An application whose code declares one schedule, ``nightly``, like this; nothing where nothing is given."""
    app = with_report(new_app())
    if declared:
        app.schedule(name="nightly", **declared)(app._actors["report"])  # type: ignore[arg-type]
    return app


async def sync(app: DataFlow, scheduling: Scheduling) -> None:
    async with scheduling(app):
        pass


async def test_a_declaration_gets_into_redis_when_a_scheduler_starts(new_app: NewApp, scheduling: Scheduling) -> None:
    app = release(new_app, cron="0 2 * * *", timezone="Europe/Berlin", queue="slow")
    with pytest.raises(ScheduleNotFoundError, match="nightly"):
        await app.schedules.get_async("nightly")
    await sync(app, scheduling)
    info = await app.schedules.get_async("nightly")
    assert info.is_declared
    assert info.schedule == app.schedules.declared[0]
    assert info.next_due == info.schedule.due_after(info.created, info.created)
    before = info
    await sync(app, scheduling)
    assert await app.schedules.get_async("nightly") == before


async def test_run_time_changes_stay_until_the_code_changes(new_app: NewApp, scheduling: Scheduling) -> None:
    app = release(new_app, every=HOUR)
    await sync(app, scheduling)
    await app.schedules.update_async("nightly", every=60, queue="slow")
    await sync(app, scheduling)
    info = await app.schedules.get_async("nightly")
    assert info.schedule.every == 60
    assert info.schedule.options == {"queue": "slow"}

    await sync(release(new_app, every=2 * HOUR), scheduling)
    info = await app.schedules.get_async("nightly")
    assert info.schedule.every == 2 * HOUR
    assert info.schedule.options == {}
    assert info.is_declared


async def test_a_pause_stays_through_syncs_and_changes_of_the_code(new_app: NewApp, scheduling: Scheduling) -> None:
    app = release(new_app, every=HOUR)
    await sync(app, scheduling)
    await app.schedules.pause_async("nightly", "the warehouse moves")
    for newer in (app, release(new_app, every=60)):
        await sync(newer, scheduling)
        info = await app.schedules.get_async("nightly")
        assert (info.state, info.reason, info.next_due) == ("paused", "the warehouse moves", None)
    info = await app.schedules.resume_async("nightly")
    assert info.state == "active"
    assert info.schedule.every == 60


async def test_intervals_go_on_through_restarts_and_syncs(new_app: NewApp, scheduling: Scheduling) -> None:
    app = release(new_app, every=HOUR)
    await sync(app, scheduling)
    due = await put_back(app, "nightly", 600)
    await sync(release(new_app, every=HOUR, queue="slow"), scheduling)
    info = await app.schedules.get_async("nightly")
    assert info.next_due == due
    assert info.schedule.options == {"queue": "slow"}


async def test_what_the_code_lost_is_retired_and_what_was_added_stays(new_app: NewApp, scheduling: Scheduling) -> None:
    app = release(new_app, every=HOUR)
    await sync(app, scheduling)
    await app.schedules.add_async("extra", "report", every=HOUR)
    await app.schedules.run_now_async("nightly")
    await sync(release(new_app), scheduling)
    assert [info.name for info in await app.schedules.list_async()] == ["extra"]
    assert [tick.what for tick in await app.schedules.history_async("nightly")] == ["by hand"]
    client = await app.broker.client()
    assert 86_000 < await client.ttl(keys.ticks("shop", "nightly")) <= 86_400
    await sync(app, scheduling)
    assert (await app.schedules.get_async("nightly")).is_declared
    assert await client.ttl(keys.ticks("shop", "nightly")) == -1


async def test_the_code_takes_over_a_name_that_was_added_at_run_time(new_app: NewApp, scheduling: Scheduling) -> None:
    app = release(new_app, every=HOUR)
    await app.schedules.add_async("nightly", "report", every=60)
    await sync(app, scheduling)
    info = await app.schedules.get_async("nightly")
    assert info.is_declared
    assert info.schedule.every == HOUR
    with pytest.raises(ScheduleError, match="declared in the code"):
        await app.schedules.remove_async("nightly")


async def test_a_tick_that_is_due_already_outlives_a_change_of_times(new_app: NewApp, scheduling: Scheduling) -> None:
    app = release(new_app, every=HOUR)
    await sync(app, scheduling)
    due = await put_back(app, "nightly", HOUR)
    newer = release(new_app, every=60)
    async with scheduling(newer):
        info = await decided(newer, "nightly")
    assert (info.queued, info.missed, info.last_due) == (1, 0, due)
    assert timedelta(0) < info.next_due - info.changed <= timedelta(seconds=61)


async def test_in_a_rolling_deployment_the_new_code_leads(new_app: NewApp, scheduling: Scheduling) -> None:
    old, new = release(new_app, every=HOUR), release(new_app, every=1)
    client = await old.broker.client()

    async def leader() -> str:
        return (await client.get(keys.leader("shop")) or b"").decode()

    async with scheduling(old, name="old", lock_time=1) as first:
        assert await leader() == "old"
        async with scheduling(new, name="new", lock_time=1):
            assert await leader() == "new"
            await until(lambda: _stands_by(first))
            assert (await new.schedules.get_async("nightly")).schedule.every == 1
            await reached(new, "nightly", queued=1)
        await until(lambda: _leads(first))
        assert await leader() == "old"
        # It goes on with what the new code declared, and does not bring its own back.
        assert (await new.schedules.get_async("nightly")).schedule.every == 1
    assert await leader() == ""


async def _stands_by(scheduler: Scheduler) -> bool:
    return not scheduler._leaders[0].leads.is_set()  # type: ignore[attr-defined]


async def _leads(scheduler: Scheduler) -> bool:
    return scheduler._leaders[0].leads.is_set()  # type: ignore[attr-defined,no-any-return]


async def test_a_schedule_whose_workflow_is_gone_waits_and_the_others_go_on(
    new_app: NewApp, scheduling: Scheduling
) -> None:
    old, new = release(new_app), release(new_app)

    @new.actor
    def invoice(number: int) -> int:
        return number

    await new.schedules.add_async("invoices", invoice, every=HOUR, inputs={"number": 7})
    await new.schedules.add_async("reports", "report", every=HOUR)
    due = await put_back(new, "invoices", HOUR)
    await put_back(new, "reports", HOUR)
    async with scheduling(old):
        info = await reached(old, "invoices", state="broken")
        assert "'invoice'" in info.reason
        await reached(old, "reports", queued=1)
        with pytest.raises(ScheduleError, match="'invoice'"):
            await old.schedules.resume_async("invoices")
    async with scheduling(new):  # knows it, and runs the tick that could not be run
        info = await reached(new, "invoices", queued=1)
    assert (info.state, info.reason, info.last_due, info.missed) == ("active", "", due, 0)
    assert (await work(new))["done"] == 2
    assert (await new.job(info.last_job).refresh_async()).result == 7


async def test_redis_that_lost_everything_gets_the_declarations_again(new_app: NewApp, scheduling: Scheduling) -> None:
    app = release(new_app, every=1)
    async with scheduling(app, lock_time=1):
        await reached(app, "nightly", queued=1)
        await (await app.broker.client()).flushdb()
        await until(lambda: _is_there(app))
        await reached(app, "nightly", queued=1)


async def _is_there(app: DataFlow) -> bool:
    return bool(await app.schedules.store().read("nightly"))


async def test_grace_that_a_takeover_may_use_up_is_warned_of(
    new_app: NewApp, scheduling: Scheduling, caplog: pytest.LogCaptureFixture
) -> None:
    app = release(new_app, every=1, grace=4)
    for name, grace, misfire in (("short", 5, "skip"), ("long", 5.5, "skip"), ("each", 1, "run_all")):
        await app.schedules.add_async(name, "report", every=1, grace=grace, misfire=misfire, overlap="allow")
    for _ in range(2):  # as added, and as found
        caplog.clear()
        async with scheduling(app, lock_time=5):
            pass
        (said,) = [record.getMessage() for record in caplog.records if "lock time of 5 s" in record.message]
        assert said.endswith("nightly (4 s), short (5 s).")
    caplog.clear()
    async with scheduling(app, lock_time=3):
        assert "lock time of 3 s" not in caplog.text


async def test_two_instances_of_one_name_cannot_share_a_scheduler(new_app: NewApp) -> None:
    app = new_app()
    with pytest.raises(ConfigurationError, match="shop, shop"):
        Scheduler([app, new_app()], app.broker)
    with pytest.raises(ConfigurationError, match="'my shop'"):
        Scheduler([new_app("my shop")], app.broker)


async def test_instances_have_schedules_of_their_own(new_app: NewApp, scheduling: Scheduling) -> None:
    first, second = release(new_app, every=1), with_report(new_app("depot"))
    second.schedule(name="nightly", every=1)(second._actors["report"])
    async with scheduling(first, second):
        await asyncio.gather(reached(first, "nightly", queued=1), reached(second, "nightly", queued=1))
    assert [info.last_job[:5] for info in await second.schedules.list_async()] == ["depot"]


@pytest.mark.parametrize("target", [print, "nothing", None])
def test_a_schedule_goes_over_an_actor_or_a_workflow(new_app: NewApp, target: object) -> None:
    app = with_report(new_app())
    with pytest.raises(ScheduleError):
        app.schedule(every=60)(target)  # type: ignore[type-var]


def test_schedules_can_be_stacked_and_need_names_then(new_app: NewApp) -> None:
    app = with_report(new_app())
    report = app._actors["report"]
    assert app.schedule(every=60)(app.schedule(every=90, name="slow")(report)) is report
    assert [item.name for item in app.schedules.declared] == ["slow", "report"]
    with pytest.raises(ScheduleError, match="'slow' is declared already"):
        app.schedule(every=60, name="slow")(report)
    with pytest.raises(ScheduleError, match="days"):
        app.schedule(every=60, name="wrong", inputs={"days": "many"})(report)


def test_a_workflow_that_is_decorated_can_be_scheduled(new_app: NewApp) -> None:
    from dataflow.workflows import WorkflowBuilder

    app = new_app()

    @app.schedule(cron="@daily", inputs={"n": 1})
    @app.workflow
    def cleanup() -> WorkflowBuilder:
        flow = WorkflowBuilder()
        flow.add_node("PythonCodeNode", "code", {"code": "result = 1"})
        return flow

    assert app.schedules.declared[0].workflow == "cleanup"
