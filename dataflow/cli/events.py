"""``dataflow events``: events as they come, their streams and who reads them, and those that a reader could not do."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.markup import escape

from dataflow.cli import text
from dataflow.cli.loading import load_apps
from dataflow.cli.target import JsonOption, print_json
from dataflow.errors import ConfigurationError, InputError
from dataflow.loop_thread import new_event_loop

if TYPE_CHECKING:
    from dataflow.app import DataFlow
    from dataflow.events.envelope import Event
    from dataflow.events.overview import ReaderInfo
    from dataflow.events.since import Since

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_WORDS = {"c": "create", "u": "update", "d": "delete", "r": "read", "t": "truncate", "m": "message"}


def events(
    app: Annotated[str, typer.Argument(help="The application, as module:attribute, such as app:db.", metavar="APP")],
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models or tables, and types of messages (@order_created). By default all models.", metavar="SUBJECT"
        ),
    ] = None,
    operations: Annotated[
        str, typer.Option(help="create, update, delete, read, truncate, separated by commas.")
    ] = "create,update,delete",
    filter_: Annotated[
        str | None, typer.Option("--filter", help='JSON: {"status": "completed"}, in the words of queries.')
    ] = None,
    transition: Annotated[bool, typer.Option("--transition", help="Only events that made the row match.")] = False,
    changed: Annotated[str | None, typer.Option(help="Only updates that changed one of these fields.")] = None,
    since: Annotated[
        str | None, typer.Option(help="start, an event's id, 15m, 2h, or 2026-11-22T03:00Z. By default from now on.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    follow: Annotated[bool, typer.Option(help="Wait for events to come; else end with those that are there.")] = True,
    streams: Annotated[
        bool, typer.Option("--streams", help="Show the streams, who reads them, and how far behind they are.")
    ] = False,
    dead: Annotated[bool, typer.Option("--dead", help="Show the events that a reader could not do.")] = False,
    retry: Annotated[
        str | None,
        typer.Option(help="Put a dead letter back: its group gets it again, its trigger fires.", metavar="ID"),
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option(help="Forget a reader, as --streams calls it: no event is kept for it.", metavar="READER"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show events as they come, until Ctrl-C.

    Example: dataflow events app:db Order --filter '{"status": "completed"}' --transition --since 2h
    """
    apps = load_apps(app)
    if len(apps) > 1:
        raise ConfigurationError("These are several instances.", hint="Name one: app:databases.orders.")
    db = apps[0]
    if streams:
        work = _streams(db, json=json)
    elif dead:
        work = _dead(db, json=json)
    elif retry is not None:
        work = _retry(db, retry)
    elif forget is not None:
        work = _forget(db, forget)
    else:
        reader = db.events(
            *(subjects or ()),
            operations=_parts(operations),
            filter=_json(filter_),
            transition=transition,
            changed=_parts(changed),
            since=parse_since(since) if since is not None or follow else "start",
            on_loss="log",
        )
        work = _follow(db, reader, count, follow=follow, json=json)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_closing(db, work))


def parse_since(given: str | None) -> Since:
    """What ``--since`` says.

    Raises:
        InputError: It says nothing that can be understood.
    """
    if given is None or given == "start":
        return given
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", given):
        return timedelta(**{_UNITS[ago[2]]: float(ago[1])})
    if re.fullmatch(r"\d+-\d+", given):
        return given
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise InputError(
            f"--since {given!r} is no beginning.", hint="Give start, an event's id, 15m, 2h or 2026-11-22T03:00Z."
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _parts(given: str | None) -> list[str]:
    return [part.strip() for part in given.split(",")] if given else []


def _json(given: str | None) -> Any:
    try:
        return None if given is None else msgspec.json.decode(given)
    except msgspec.DecodeError as error:
        raise InputError(f"--filter is no JSON: {error}.", hint='Write \'{"status": "completed"}\'.') from None


async def _closing(db: DataFlow, work: Awaitable[None]) -> None:
    try:
        await work
    finally:
        await db.close_async()


async def _follow(db: DataFlow, reader: Any, count: int | None, *, follow: bool, json: bool) -> None:
    from dataflow.events.envelope import encode

    shown = 0
    if follow:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
    try:
        while count is None or shown < count:
            found = [await reader.next()] if follow else await reader.take(1, 0)
            if not found:
                break
            shown += 1
            event = found[0]
            if json:
                typer.echo(encode(event, db.models.get(event.source.model or "")).decode())
            else:
                typer.echo(event_line(event))
    except asyncio.CancelledError:
        pass  # it was told to end
    finally:
        await reader.aclose()


def event_line(event: Event) -> str:
    """An event as a line: when, what, where, which row, and what of it."""
    row = event.after if event.after is not None else event.before or {}
    before = event.before or {}
    if event.changed:
        told = {name: f"{before.get(name)!r} → {row.get(name)!r}" for name in event.changed}
    else:
        told = {name: repr(value) for name, value in row.items()}
    key = f" {row['id']}" if "id" in row else ""
    values = ", ".join(f"{name}: {value}" for name, value in told.items() if name != "id")
    when = f"{event.ts:%Y-%m-%d %H:%M:%S}.{event.ts.microsecond // 1000:03d}"
    return f"{when} {event.id} {_WORDS.get(event.op, event.op)} {event.source.table}{key} {values}".rstrip()


async def _streams(db: DataFlow, *, json: bool) -> None:
    from dataflow.events.overview import stream_infos

    found = await stream_infos(db.broker, db.name)
    if json:
        print_json([msgspec.to_builtins(info, builtin_types=(datetime,)) for info in found])
        return
    rows = [
        [escape(info.name), str(info.length), str(info.published), text.when(info.first), text.when(info.last)]
        for info in found
    ]
    title = f"{len(found)} stream(s) of {escape(db.name)}"
    text.console().print(text.table(title, ("stream", "events", "published", "first (UTC)", "last (UTC)"), rows))
    readers = [(info.name, reader) for info in found for reader in info.readers]
    if readers:
        columns = ("stream", "reader", "behind", "oldest waits for", "in hand")
        now = datetime.now(UTC)
        lines = [[escape(name), *_reader_row(reader, now)] for name, reader in readers]
        text.console().print(text.table("Readers that are waited for", columns, lines))


def _reader_row(reader: ReaderInfo, now: datetime) -> list[str]:
    from dataflow.events.overview import COUNTED

    behind = str(reader.behind) if reader.behind <= COUNTED else f"{COUNTED}+"
    waits = text.duration((now - reader.oldest).total_seconds()) if reader.oldest is not None else "-"
    return [escape(reader.name), behind, waits, str(reader.pending)]


async def _dead(db: DataFlow, *, json: bool) -> None:
    found = await db.dead_events.list()
    if json:
        print_json([msgspec.to_builtins(letter, builtin_types=(datetime,)) for letter in found])
        return
    columns = ("id", "reader", "stream", "event", "tried", "since (UTC)", "reason")
    rows = [
        [
            letter.key, escape(letter.reader), escape(letter.stream), letter.id, str(letter.deliveries),
            text.when(letter.at), escape(letter.reason),
        ]
        for letter in found
    ]  # fmt: skip
    text.console().print(text.table(f"{len(found)} dead letter(s) of {escape(db.name)}", columns, rows))


async def _retry(db: DataFlow, key: str) -> None:
    letter = await db.dead_events.retry(key)
    typer.echo(f"{letter.reader} gets the event {letter.id} of {letter.stream} again.")


async def _forget(db: DataFlow, name: str) -> None:
    from dataflow.events.overview import forget_reader

    count = await forget_reader(db.broker, db.name, name)
    if not count:
        raise InputError(f"Nobody called {name!r} reads events of {db.name}.", hint="--streams tells who does.")
    typer.echo(f"{name} is forgotten; it read {count} stream(s).")
