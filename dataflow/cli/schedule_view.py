"""How ``dataflow schedules`` shows schedules and their ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rich.markup import escape

from dataflow.cli import text
from dataflow.schedules import Schedule, ScheduleInfo, Tick

#: Ticks to come that `show` tells.
AHEAD = 3
_COLUMNS = ("schedule", "runs", "when", "state", "next (UTC)", "last (UTC)", "ticks")
_SECRET = ("inputs", "meta")


def told(info: ScheduleInfo, owner: str) -> dict[str, Any]:
    """What is known of a schedule, for programs; its declaration left out."""
    values = {item.name: getattr(info, item.name) for item in fields(info) if item.name != "schedule"}
    return {"name": values.pop("name"), "instance": owner, **values}


def told_all(info: ScheduleInfo, owner: str, *, values: bool) -> dict[str, Any]:
    """The same, with its declaration and the ticks to come.

    Args:
        info: The schedule.
        owner: Name of its instance.
        values: Tell values of inputs and meta, not only their types.
    """
    declared = None
    if info.schedule is not None:
        declared = info.schedule.to_document()
        del declared["v"]
        options = dict(info.schedule.options)
        if not values:
            options |= {name: text.shape(options[name]) for name in _SECRET if name in options}
        if options:
            declared["options"] = options
    return {**told(info, owner), "ahead": ahead(info), "declaration": declared}


def ahead(info: ScheduleInfo) -> list[datetime]:
    """The ticks to come, the first few of them."""
    return list(islice(_ticks(info.schedule, info.next_due), AHEAD)) if info.schedule else []


def _ticks(schedule: Schedule, due: datetime | None) -> Any:
    while due is not None:
        yield due
        due = schedule.due_after(due, anchor=due)


def print_list(owner: str, leader: str | None, found: Sequence[ScheduleInfo]) -> None:
    """Print the schedules of an instance, a line each."""
    led = f"{escape(leader)} leads" if leader else "[red]no scheduler runs[/]"
    title = f"{len(found)} schedule(s) of {escape(owner)}, {led}"
    table = text.table(title, _COLUMNS, [_row(info) for info in found])
    for column in table.columns:  # headings stay whole; what stands below is folded
        column.min_width = len(str(column.header))
    text.console().print(table)


def _row(info: ScheduleInfo) -> tuple[str, ...]:
    return (
        info.name,
        escape(info.workflow or "-"),
        escape(info.when),
        text.status(info.state) + (f"\n{escape(info.reason)}" if info.reason else ""),
        text.when(info.next_start),
        text.when(info.last_due) + (f"\n{text.status(info.last_outcome)}" if info.last_outcome else ""),
        "\n".join(_counts(info)),
    )


def _counts(info: ScheduleInfo) -> list[str]:
    """What became of ticks; skipped and missed ones where there are any."""
    lines = [f"{info.queued} queued"]
    if info.skipped:
        lines.append(f"[yellow]{info.skipped} skipped[/]")
    if info.missed:
        lines.append(f"[red]{info.missed} missed[/]")
    return lines


def print_one(info: ScheduleInfo, owner: str, *, values: bool) -> None:
    """Print all that is known of a schedule."""
    console = text.console()
    schedule = info.schedule
    console.print(f"[bold]{info.name}[/]  {text.status(info.state)}  {escape(info.workflow)}  {escape(info.when)}")
    if info.reason:
        console.print(f"  [yellow]{escape(info.reason)}[/]", soft_wrap=True)
    zone = schedule.timezone if schedule else "UTC"
    lines: dict[str, Any] = {
        "instance": owner,
        "declared": "in the code" if info.is_declared else "at run time",
        "next": ", ".join(_both(due, zone) for due in ahead(info)),
        "starts": text.when(info.next_start) if info.next_start != info.next_due else None,
        "last": _both(info.last_due, zone) if info.last_due else None,
        "last job": info.last_job,
        "last outcome": f"{info.last_outcome} at {text.when(info.last_ended)}" if info.last_outcome else None,
        "last missed": _both(info.last_missed, zone) if info.last_missed else None,
        "ticks": f"{info.queued} queued, {info.skipped} skipped, {info.missed} missed",
        "jobs": f"{info.finished} finished, {info.failed} failed, {info.stopped} stopped, {info.canceled} canceled",
        "created": text.when(info.created),
        "changed": text.when(info.changed),
    }
    if schedule is not None:
        lines |= {"misfire": f"{schedule.misfire}, grace {schedule.grace:g} s", "overlap": schedule.overlap}
        for name, value in schedule.options.items():
            hidden = name in _SECRET and not values
            shown = text.shape(value) if hidden else value
            lines[name] = shown if isinstance(shown, str) else msgspec.json.encode(shown, enc_hook=str).decode()
    for name, value in lines.items():
        if value:
            console.print(f"  {name:<13}{escape(str(value))}", soft_wrap=True)


def _both(moment: datetime, zone: str) -> str:
    """A moment in UTC, and as clocks of the schedule show it."""
    shown = text.when(moment)
    return shown if zone == "UTC" else f"{shown} ({moment.astimezone(ZoneInfo(zone)):%a %H:%M:%S %Z})"


def print_history(name: str, ticks: Sequence[Tick]) -> None:
    """Print what became of a schedule's last ticks."""
    rows = [
        (
            text.when(tick.due),
            text.when(tick.at),
            text.status(tick.what) + (f" × {tick.count}" if tick.count > 1 else ""),
            tick.job_id or "-",
        )
        for tick in ticks
    ]
    text.console().print(text.table(f"The last ticks of {name}", ("due (UTC)", "decided", "what", "job"), rows))
