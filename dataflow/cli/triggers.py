"""``dataflow triggers``: what events start; look at it and change it while it runs."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dataflow.cli import text
from dataflow.cli.place import Place, tell_absent
from dataflow.cli.target import AppOption, JsonOption, UrlOption, print_json

if TYPE_CHECKING:
    from dataflow.events.triggers import TriggerInfo, Triggers

app = typer.Typer(no_args_is_help=True, help="Look at triggers, and change them while they run.")

NameArgument = Annotated[str, typer.Argument(help="Name of the trigger.", metavar="NAME")]
InstanceOption = Annotated[
    str | None, typer.Option("--instance", help="Which, where APP is a list of instances: its name.")
]
_COLUMNS = ("trigger", "starts", "for", "state", "fired", "dead", "last (UTC)")


@app.command("list")
def list_command(
    instance: InstanceOption = None, target: AppOption = None, url: UrlOption = None, json: JsonOption = False
) -> None:
    """List triggers: which events start what, how many did, and how many could not (dead letters).

    Broken: it cannot fire, for the reason that is told, and keeps its place.

    Example: dataflow triggers list --app app:db
    """
    place = _place(target, url, instance)

    async def work() -> list[tuple[Triggers, list[TriggerInfo]]]:
        return [(one, list(await one.list_async())) for one in place.all]

    answer = place.run(work)
    if json:
        print_json([_told(info, one.owner) for one, found in answer for info in found])
        return
    for one, found in answer:
        title = f"{len(found)} trigger(s) of {escape(one.owner)}"
        text.console().print(text.table(title, _COLUMNS, [_row(info) for info in found]))
        tell_absent(one, {info.name for info in found})


@app.command()
def pause(
    name: NameArgument,
    reason: Annotated[str | None, typer.Option(help="Shown to those who look.")] = None,
    instance: InstanceOption = None,
    target: AppOption = None,
    url: UrlOption = None,
) -> None:
    """Let a trigger start nothing until it is resumed. It keeps its place: no event is lost meanwhile.

    Example: dataflow triggers pause fulfil --reason "the warehouse moves" --app app:db
    """
    place = _place(target, url, instance)
    triggers = place.one
    _tell(place.run(lambda: triggers.pause_async(name, reason)))


@app.command()
def resume(
    name: NameArgument,
    skip: Annotated[bool, typer.Option("--skip", help="Leave out the events that came meanwhile.")] = False,
    instance: InstanceOption = None,
    target: AppOption = None,
    url: UrlOption = None,
) -> None:
    """Let a paused trigger go on with the events that came meanwhile.

    Example: dataflow triggers resume fulfil --app app:db
    """
    place = _place(target, url, instance)
    triggers = place.one
    _tell(place.run(lambda: triggers.resume_async(name, skip=skip)))


@app.command()
def remove(
    name: NameArgument, instance: InstanceOption = None, target: AppOption = None, url: UrlOption = None
) -> None:
    """Remove a trigger that was added at run time. Jobs that it has started go on.

    Example: dataflow triggers remove mail --app app:db
    """
    place = _place(target, url, instance)
    triggers = place.one
    place.run(lambda: triggers.remove_async(name))
    typer.echo(f"{name}: removed")


def _place(target: str | None, url: str | None, instance: str | None) -> Place[Triggers]:
    return Place(lambda app: app.triggers, target, url, instance)


def _told(info: TriggerInfo, owner: str) -> dict[str, Any]:
    """What is known of a trigger, for programs; its declaration left out."""
    values = {item.name: getattr(info, item.name) for item in fields(info) if item.name != "trigger"}
    return {"name": values.pop("name"), "instance": owner, **values}


def _row(info: TriggerInfo) -> tuple[str, ...]:
    return (
        info.name,
        escape(info.workflow or "-"),
        escape(info.what),
        text.status(info.state) + (f"\n{escape(info.reason)}" if info.reason else ""),
        str(info.fired),
        f"[red]{info.dead}[/]" if info.dead else "0",
        text.when(info.last_fired),
    )


def _tell(info: TriggerInfo) -> None:
    typer.echo(f"{info.name}: {info.state}, {info.what}")
