"""``dataflow schedules``: what runs by time; look at it and change it while it runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dataflow.cli import schedule_options as of
from dataflow.cli import text
from dataflow.cli.place import Place, tell_absent
from dataflow.cli.schedule_view import print_history, print_list, print_one, told, told_all
from dataflow.cli.target import AppOption, JsonOption, UrlOption, print_json
from dataflow.errors import InputError, did_you_mean
from dataflow.schedules import ScheduleInfo, Schedules

app = typer.Typer(no_args_is_help=True, help="Look at schedules, and change them while they run.")

NameArgument = Annotated[str, typer.Argument(help="Name of the schedule.", metavar="NAME")]
InstanceOption = Annotated[
    str | None, typer.Option("--instance", help="Which, where APP is a list of instances: its name.")
]
STATES = ("active", "paused", "ended", "broken")


@app.command("list")
def list_command(
    state: Annotated[str | None, typer.Option("--state", "-s", help=f"Only {', '.join(STATES)}.")] = None,
    instance: InstanceOption = None,
    target: AppOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
) -> None:
    """List schedules: what they run and when, their next and last ticks, how the last job ended, who leads.

    Skipped: the job before had not ended. Missed: no scheduler ran in time. Broken: it cannot run, for the reason that
    is told.

    Example: dataflow schedules list --app app:db --state broken
    """
    if state is not None and state not in STATES:
        raise InputError(f"There is no state {state!r}.", hint=did_you_mean(state, STATES))
    place = _place(target, url, instance)

    async def work() -> list[tuple[Schedules, str | None, list[ScheduleInfo]]]:
        return [(one, await one.leader_async(), list(await one.list_async())) for one in place.all]

    answer = place.run(work)
    shown = [
        (one.owner, leader, [info for info in found if state in (None, info.state)]) for one, leader, found in answer
    ]
    if json:
        rows = [told(info, owner) for owner, _, found in shown for info in found]
        print_json({"leaders": {owner: leader for owner, leader, _ in shown}, "schedules": rows})
        return
    for owner, leader, found in shown:
        print_list(owner, leader, found)
    for one, _, there in answer:
        tell_absent(one, {info.name for info in there})


@app.command()
def show(
    name: NameArgument,
    values: Annotated[bool, typer.Option("--values", help="Tell inputs and meta, not only their types.")] = False,
    instance: InstanceOption = None,
    target: AppOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
) -> None:
    """Show a schedule: its declaration, its state and why, ticks to come, the last job and how it ended, counts.

    Inputs may be secret: only their names and types are told, unless --values asks for more.

    Example: dataflow schedules show nightly --app app:db
    """
    place = _place(target, url, instance)
    schedules = place.one
    info = place.run(lambda: schedules.get_async(name))
    if json:
        print_json(told_all(info, schedules.owner, values=values))
    else:
        print_one(info, schedules.owner, values=values)


@app.command()
def add(
    name: NameArgument,
    workflow: Annotated[str, typer.Argument(help="Name of a registered workflow or actor.", metavar="WORKFLOW")],
    cron: of.Cron = None,
    every: of.Every = None,
    at: of.At = None,
    timezone: of.Timezone = None,
    jitter: of.Jitter = None,
    start: of.Start = None,
    end: of.End = None,
    misfire: of.Misfire = None,
    grace: of.Grace = None,
    overlap: of.Overlap = None,
    queue: of.Queue = None,
    input_: of.Input = None,
    inputs: of.Inputs = None,
    timeout: of.Timeout = None,
    retry: of.Retry = None,
    tenant_id: of.TenantId = None,
    at_front: of.AtFront = None,
    result_ttl: of.ResultTtl = None,
    failure_ttl: of.FailureTtl = None,
    meta: of.Meta = None,
    exactly_once: of.ExactlyOnce = None,
    instance: InstanceOption = None,
    target: AppOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
) -> None:
    """Add a schedule. Adding one again that is there exactly so changes nothing.

    Inputs of an actor are its arguments by name; those of a workflow are what its run takes.

    Example: dataflow schedules add nightly report --cron "0 2 * * *" --timezone Europe/Berlin --input days=7
    """
    arguments = of.arguments_of(
        cron=cron, every=every, at=at, timezone=timezone, jitter=jitter, start=start, end=end, misfire=misfire,
        grace=grace, overlap=overlap, queue=queue, input=input_, inputs=inputs, timeout=timeout, retry=retry,
        tenant_id=tenant_id, at_front=at_front, result_ttl=result_ttl, failure_ttl=failure_ttl, meta=meta,
        exactly_once=exactly_once,
    )  # fmt: skip
    place = _place(target, url, instance)
    schedules = place.one
    _tell(place.run(lambda: schedules.add_async(name, workflow, **arguments)), schedules, json=json)


@app.command()
def update(
    name: NameArgument,
    workflow: Annotated[str | None, typer.Option(help="Run another workflow or actor.")] = None,
    cron: of.Cron = None,
    every: of.Every = None,
    at: of.At = None,
    timezone: of.Timezone = None,
    jitter: of.Jitter = None,
    start: of.Start = None,
    end: of.End = None,
    misfire: of.Misfire = None,
    grace: of.Grace = None,
    overlap: of.Overlap = None,
    queue: of.Queue = None,
    input_: of.Input = None,
    inputs: of.Inputs = None,
    timeout: of.Timeout = None,
    retry: of.Retry = None,
    tenant_id: of.TenantId = None,
    at_front: of.AtFront = None,
    result_ttl: of.ResultTtl = None,
    failure_ttl: of.FailureTtl = None,
    meta: of.Meta = None,
    exactly_once: of.ExactlyOnce = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(help="Take an option of the jobs, start or end back. May be given several times."),
    ] = None,
    instance: InstanceOption = None,
    target: AppOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
) -> None:
    """Change a schedule, from now on: what is given here. Inputs and meta are replaced as a whole.

    One that the code declares stays changed until its declaration in the code changes.

    Example: dataflow schedules update nightly --cron "30 3 * * *" --unset timeout --app app:db
    """
    changes = of.arguments_of(
        workflow=workflow, cron=cron, every=every, at=at, timezone=timezone, jitter=jitter, start=start, end=end,
        misfire=misfire, grace=grace, overlap=overlap, queue=queue, input=input_, inputs=inputs, timeout=timeout,
        retry=retry, tenant_id=tenant_id, at_front=at_front, result_ttl=result_ttl, failure_ttl=failure_ttl,
        meta=meta, exactly_once=exactly_once,
    )  # fmt: skip
    taken_back = of.taken_back(unset)
    if both := sorted(taken_back.keys() & changes.keys()):
        raise InputError(f"{', '.join(both)} is set and unset at once.")
    if not changes and not taken_back:
        raise InputError("Nothing is to be changed.", hint='Give options, such as --cron "30 3 * * *".')
    place = _place(target, url, instance)
    schedules = place.one
    _tell(place.run(lambda: schedules.update_async(name, **changes, **taken_back)), schedules, json=json)


@app.command()
def pause(
    name: NameArgument,
    reason: Annotated[str | None, typer.Option(help="Shown to those who look.")] = None,
    instance: InstanceOption = None,
    target: AppOption = None,
    url: UrlOption = None,
) -> None:
    """Let a schedule start nothing until it is resumed. Jobs that it has started go on.

    Example: dataflow schedules pause nightly --reason "the warehouse moves" --app app:db
    """
    place = _place(target, url, instance)
    schedules = place.one
    _tell(place.run(lambda: schedules.pause_async(name, reason)), schedules)


@app.command()
def resume(
    name: NameArgument, instance: InstanceOption = None, target: AppOption = None, url: UrlOption = None
) -> None:
    """Let a paused or broken schedule go on. What would have been due while it was paused is not run.

    Example: dataflow schedules resume nightly --app app:db
    """
    place = _place(target, url, instance)
    schedules = place.one
    _tell(place.run(lambda: schedules.resume_async(name)), schedules)


@app.command()
def remove(
    name: NameArgument, instance: InstanceOption = None, target: AppOption = None, url: UrlOption = None
) -> None:
    """Remove a schedule that was added at run time. Its history goes a day later.

    Example: dataflow schedules remove nightly --app app:db
    """
    place = _place(target, url, instance)
    schedules = place.one
    place.run(lambda: schedules.remove_async(name))
    typer.echo(f"{name}: removed")


@app.command("run-now")
def run_now(
    name: NameArgument, instance: InstanceOption = None, target: AppOption = None, url: UrlOption = None
) -> None:
    """Start a job of a schedule now, beside its ticks; also where it is paused. Prints the job's id.

    Example: dataflow jobs watch $(dataflow schedules run-now nightly --app app:db)
    """
    place = _place(target, url, instance)
    schedules = place.one
    typer.echo(place.run(lambda: schedules.run_now_async(name)).id)


@app.command()
def history(
    name: NameArgument,
    instance: InstanceOption = None,
    target: AppOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
) -> None:
    """Tell what became of the last 20 ticks of a schedule, newest first; also of one removed within the last day.

    Example: dataflow schedules history nightly --app app:db
    """
    place = _place(target, url, instance)
    schedules = place.one
    ticks = place.run(lambda: schedules.history_async(name))
    if json:
        print_json([asdict(tick) for tick in ticks])
    else:
        print_history(name, ticks)


def _place(target: str | None, url: str | None, instance: str | None) -> Place[Schedules]:
    return Place(lambda app: app.schedules, target, url, instance)


def _tell(info: ScheduleInfo, schedules: Schedules, *, json: bool = False) -> None:
    """Tell what a schedule has become."""
    if json:
        print_json(told_all(info, schedules.owner, values=False))
        return
    then = f", next at {text.when(info.next_due)} UTC" if info.next_due else ""
    typer.echo(f"{info.name}: {info.state}, {info.when}{then}")
