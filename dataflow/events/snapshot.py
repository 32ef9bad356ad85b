"""Snapshots: the rows that a table has already, as events among those of its changes (DBLog's algorithm).

::

    changes   … ──[low]────────── u 7 ── d 9 ────────────[high]── r 6, r 8, r 10 ── …
                    │                                      ▲
    rows            └─▶ read 6, 7, 8, 9, 10 by key ─────────┘   without 7 and 9, which changed meanwhile

A chunk of rows is read between two watermarks, and published where the second is in the log, less the rows that changed
in between: those have told themselves. So a row never comes later than a change that it does not have yet. Nothing is
locked, and the last key is saved together with the events, so a snapshot goes on where it was.

Rows are read only after the first watermark has come out of the log, not when it was committed: an outbox gives places
when it is read.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dataflow.databases.dialects import new_dialect
from dataflow.databases.interface import Database
from dataflow.errors import CaptureError, did_you_mean
from dataflow.events.envelope import Op
from dataflow.events.publisher import Publisher
from dataflow.events.sources.interface import Chunk, RowChange, Source
from dataflow.events.tables import marked
from dataflow.events.values import FROM_JSON, TO_JSON
from dataflow.models import ModelSpec
from dataflow.queries.codecs import ModelCodec

logger = logging.getLogger("dataflow.events")

#: Rows read between two watermarks.
_AT_ONCE = 1_000
#: Seconds between two looks for a snapshot that was asked for.
_LOOK = 0.5
_FIELD = "snapshot:"


class Progress(msgspec.Struct, omit_defaults=True):
    """How far a snapshot is.

    Attributes:
        state: ``wanted``, ``running`` or ``done``.
        cursor: The last key, as JSON holds it.
        rows: Rows published.
    """

    state: str = "wanted"
    cursor: Any = None
    rows: int = 0


class _Window:
    """A chunk of rows between its watermarks."""

    def __init__(self, spec: ModelSpec, progress: Progress) -> None:
        self.spec = spec
        self.progress = progress
        self.low, self.high = secrets.token_hex(8), secrets.token_hex(8)
        self.opened, self.closed = asyncio.Event(), asyncio.Event()
        self.rows: Sequence[Mapping[str, Any]] = ()
        #: Keys of rows that changed meanwhile; None: all.
        self.changed: set[Any] | None = set()


class Snapshots:
    """The snapshots of one capture.

    Args:
        source: Commits the watermarks.
        database: Where the rows are.
        models: Whose rows.
        publisher: Knows which snapshots are wanted.
    """

    def __init__(self, source: Source, database: Database, models: Sequence[ModelSpec], publisher: Publisher) -> None:
        self._source = source
        self._database = database
        self._models = {spec.table_name: spec for spec in models}
        self._publisher = publisher
        self._window: _Window | None = None

    async def run(self) -> None:
        """Make the snapshots that are asked for, one after the other; cancelled by who started it."""
        self._window = None
        while True:
            for table, progress in snapshots_in(await self._publisher.fields()).items():
                if progress.state != "done" and table in self._models:
                    await self._take(self._models[table], progress)
            await asyncio.sleep(_LOOK)

    async def _take(self, spec: ModelSpec, progress: Progress) -> None:
        if spec.features.row_level_security:
            logger.error("No snapshot of %s: its row-level security hides the rows from capture.", spec.name)
            await self._publisher.call(*_set(self._publisher.owner, spec.table_name, Progress("done")))
            return
        logger.info("Snapshot of %s %s.", spec.name, "goes on" if progress.cursor is not None else "begins")
        while progress.state != "done":
            window = self._window = _Window(spec, progress)
            await self._source.mark(window.low)
            await window.opened.wait()
            window.rows = await self._read(spec, progress.cursor)
            await self._source.mark(window.high)
            await window.closed.wait()
            progress = window.progress
        logger.info("Snapshot of %s is complete: %d rows.", spec.name, progress.rows)

    async def _read(self, spec: ModelSpec, cursor: Any) -> list[dict[str, Any]]:
        dialect = self._database.dialect
        quote = new_dialect(dialect).identifier_preparer.quote_identifier
        codec, key = ModelCodec(spec, dialect), spec.primary_key
        where, args = "", []
        if cursor is not None:
            convert = FROM_JSON.get(key.type.kind)
            where = f" WHERE {quote(key.name)} > ?"
            args = [codec.fields[key.name].bind(cursor if convert is None else convert(cursor))]
        sql = (
            f"SELECT {', '.join(map(quote, spec.names))} FROM {quote(spec.table_name)}{where} "
            f"ORDER BY {quote(key.name)} LIMIT {_AT_ONCE}"
        )
        return [codec.row(row) for row in await self._database.fetch_all(marked(dialect, sql), args)]

    def saw(self, change: RowChange) -> None:
        """A change has come out of the log."""
        window = self._window
        if window is None or not window.opened.is_set() or change.table != window.spec.table_name:
            return
        if change.op is Op.TRUNCATE:
            window.changed = None
        elif window.changed is not None:
            key = window.spec.primary_key.name
            window.changed.update(row[key] for row in (change.before, change.after) if row and key in row)

    def reached(self, chunk: Chunk) -> tuple[list[RowChange], dict[str, str]]:
        """Rows to publish at the end of a chunk, and fields of the capture hash that go with them."""
        window = self._window
        if window is None or chunk.mark is None:
            return [], {}
        if chunk.mark == window.low:
            window.opened.set()
        if chunk.mark != window.high:
            return [], {}
        key, changed = window.spec.primary_key, window.changed
        rows = [] if changed is None else [row for row in window.rows if row[key.name] not in changed]
        progress = window.progress
        cursor = progress.cursor
        if window.rows:
            last = window.rows[-1][key.name]
            convert = TO_JSON.get(key.type.kind)
            cursor = last if convert is None else convert(last)
        state = "running" if len(window.rows) == _AT_ONCE else "done"
        window.progress = Progress(state, cursor, progress.rows + len(rows))
        table = window.spec.table_name
        fields = {f"{_FIELD}{table}": msgspec.json.encode(window.progress).decode()}
        return [RowChange(Op.READ, table, after=row) for row in rows], fields

    def published(self, chunk: Chunk) -> None:
        """The events of a chunk are in Redis."""
        window = self._window
        if window is not None and chunk.mark == window.high:
            self._window = None
            window.closed.set()


def snapshots_in(fields: Mapping[str, str]) -> dict[str, Progress]:
    """Table → progress of its snapshot, of those in a capture hash."""
    return {
        name.removeprefix(_FIELD): msgspec.json.decode(value, type=Progress)
        for name, value in fields.items()
        if name.startswith(_FIELD)
    }


async def request_snapshot(publisher: Publisher, models: Mapping[str, ModelSpec], name: str) -> None:
    """Ask whoever captures, now or later, for the rows of a model. One that runs begins anew.

    Args:
        publisher: Of the instance.
        models: Model name → ModelSpec.
        name: Name of the model, or of its table.

    Raises:
        CaptureError: There is no such model.
    """
    for spec in models.values():
        if name in (spec.name, spec.table_name):
            await publisher.call(*_set(publisher.owner, spec.table_name, Progress()))
            return
    raise CaptureError(f"There is no model {name!r} whose changes are captured.", hint=did_you_mean(name, models))


def _set(owner: str, table: str, progress: Progress) -> tuple[str, str, str, str]:
    from dataflow.jobs import keys

    return ("HSET", keys.capture(owner), f"{_FIELD}{table}", msgspec.json.encode(progress).decode())
