"""Readers that read by runs: each run gets the events that came since the one before, and the same again when it is run
again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dataflow.errors import InputError
from dataflow.events.envelope import Event
from dataflow.events.ids import before, checked_id, id_text, parse_id
from dataflow.events.reading import FollowingReader
from dataflow.events.since import Since
from dataflow.jobs import Broker, keys
from dataflow.jobs.scripts import Script

_ADVANCE = Script(Path(__file__).parent / "lua" / "advance.lua")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class Taken(NamedTuple):
    """What a run read.

    Attributes:
        events: The events.
        cursor: The id of the last that was looked at.
    """

    events: list[Event]
    cursor: str


async def take(reader: FollowingReader, limit: int, wait: float) -> Taken:
    """Events without remembering that they were read; errors as of ``FollowingReader.take``."""
    events = await reader.take(limit, wait)
    assert reader.place is not None
    return Taken(events, id_text(reader.place))


class RunReader:
    """A reader with a name; how far it is, is kept in Redis, and what its last run read is not trimmed.

    Args:
        broker: Where the streams are.
        owner: Name of the instance.
        name: Of the reader.
        open_at: Makes what reads, from where.
        since: Where it begins when it is new.

    Raises:
        InputError: The name cannot be one.
    """

    def __init__(
        self, broker: Broker, owner: str, name: str, open_at: Callable[[Since], FollowingReader], since: Since
    ) -> None:
        if not _NAME.fullmatch(name):
            raise InputError(f"A reader is not called {name!r}.", hint="Up to 100 letters, digits, '_', '.' and '-'.")
        self._broker = broker
        self._owner = owner
        self._name = name
        self._open_at = open_at
        self._since = since

    async def take(self, run: str, limit: int, wait: float) -> Taken:
        """The events of a run: those after the run before, or the same again.

        Args:
            run: What the run is known by.
            limit: At most so many.
            wait: Seconds to wait for the first.

        Raises:
            as ``FollowingReader.take`` does.
        """
        while True:
            state = await self._state()
            again = state.get("run") == run
            reader = self._open_at(state.get("after" if again else "until", self._since))
            try:
                taken = await take(reader, limit, 0.0 if again else wait)
            finally:
                await reader.aclose()
            if again:
                end = parse_id(state["until"])
                return Taken([event for event in taken.events if parse_id(event.id) <= end], state["until"])
            first = id_text(before(checked_id(taken.events[0].id))) if taken.events else taken.cursor
            stood = (state.get("run", ""), state.get("until", ""))
            moved = (run, first, taken.cursor, *reader.selection.streams)
            if await self._broker.run(_ADVANCE, [self._owner, self._name, *stood, *moved]):
                return taken

    async def _state(self) -> dict[str, str]:
        client: Any = await self._broker.client()
        async with self._broker.errors():
            found = await client.hgetall(keys.event_runs(self._owner, self._name))
        return {name.decode(): value.decode() for name, value in found.items()}
