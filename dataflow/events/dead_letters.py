"""Dead letters: events that a reader could not do, kept with the reason until somebody puts them back.

The stream ``rq:dataflow:events-dead:OWNER`` holds those of all readers of an instance:

===========  ===================================================================
field        value
===========  ===================================================================
stream       where the event is: a table, or ``@`` and a type of messages
id           its id there
event        its text, as in the stream
reader       ``group:NAME``, ``trigger:NAME``, …
reason       why
deliveries   how often it was tried
at           when it was given up, Unix time, ms
===========  ===================================================================
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataflow.errors import EventError
from dataflow.jobs import Broker, keys
from dataflow.jobs.scripts import Argument, Script

#: Dead letters that an instance keeps; the oldest go.
KEPT = 100_000

_LUA = Path(__file__).parent / "lua"
_BURY = Script(_LUA / "bury.lua")
_REVIVE = Script(_LUA / "revive.lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that a reader could not do.

    Attributes:
        key: Id among the dead letters.
        stream: Where the event is: a table, or ``@`` and a type of messages.
        id: Its id there.
        event: Its text, as in the stream.
        reader: Who could not do it: ``group:NAME``, ``trigger:NAME``, …
        reason: Why.
        deliveries: How often it was tried.
        at: When it was given up.
    """

    key: str
    stream: str
    id: str
    event: str
    reader: str
    reason: str
    deliveries: int
    at: datetime


#: Puts a dead letter of one kind of readers back; it is removed by who calls.
Revive = Callable[[DeadLetter], Awaitable[None]]


def letter_fields(
    stream: str, entry_id: str, text: str | bytes, reader: str, reason: str, deliveries: int
) -> dict[str, Argument]:
    """The fields of a dead letter, for the script that makes it."""
    return {
        "stream": stream,
        "id": entry_id,
        "event": text,
        "reader": reader,
        "reason": reason,
        "deliveries": deliveries,
        "at": time.time_ns() // 1_000_000,
    }


class DeadLetters:
    """Those of one instance.

    Args:
        broker: Where they are.
        owner: Name of the instance.
        revive: Kind of readers → what puts a dead letter of theirs back. Those of groups are known.
    """

    def __init__(self, broker: Broker, owner: str, revive: Mapping[str, Revive] | None = None) -> None:
        self._broker = broker
        self._owner = owner
        self._revive = dict(revive or {})

    async def bury(self, group: str, fields: Mapping[str, Argument]) -> bool:
        """Move an entry of a group here; False where it was done meanwhile.

        Raises:
            BrokerUnavailableError: Redis cannot be reached.
        """
        pairs = [part for pair in fields.items() for part in pair]
        args = [self._owner, group, fields["stream"], fields["id"], KEPT, *pairs]
        return bool(await self._broker.run(_BURY, args))

    async def add(self, fields: Mapping[str, Argument]) -> None:
        """Add an event that somebody could not do who takes nothing back.

        Raises:
            BrokerUnavailableError: Redis cannot be reached.
        """
        client: Any = await self._broker.client()
        async with self._broker.errors():
            await client.xadd(keys.events_dead(self._owner), dict(fields), maxlen=KEPT, approximate=True)

    async def list(self, count: int = 1_000) -> list[DeadLetter]:
        """The newest, newest first.

        Raises:
            BrokerUnavailableError: Redis cannot be reached.
        """
        client: Any = await self._broker.client()
        async with self._broker.errors():
            found = await client.xrevrange(keys.events_dead(self._owner), count=count)
        return [_letter(key, fields) for key, fields in found]

    async def retry(self, key: str) -> DeadLetter:
        """Put one back: its reader gets the event again.

        Raises:
            EventError: There is no such dead letter, its event is gone, or its reader takes nothing back.
            BrokerUnavailableError: Redis cannot be reached.
        """
        client: Any = await self._broker.client()
        async with self._broker.errors():
            found = await client.xrange(keys.events_dead(self._owner), key, key)
        if not found:
            raise _unknown(key)
        letter = _letter(*found[0])
        kind, _, name = letter.reader.partition(":")
        if kind == "group":
            state = await self._broker.run(_REVIVE, [self._owner, key, name, letter.stream, letter.id])
            if state == 0:
                raise _unknown(key)
            if state < 0:
                raise EventError(
                    f"The event {letter.id} is not in the stream {letter.stream} any more.",
                    hint="The dead letter has its text.",
                )
        elif kind in self._revive:
            await self._revive[kind](letter)
            async with self._broker.errors():
                await client.xdel(keys.events_dead(self._owner), key)
        else:
            raise EventError(f"The reader {letter.reader} takes no dead letters back.")
        return letter


def _unknown(key: str) -> EventError:
    return EventError(f"There is no dead letter {key!r}.", hint="`dataflow events APP --dead` lists them.")


def _letter(key: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    texts = {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
    return DeadLetter(
        key=key.decode(),
        stream=texts.get("stream", ""),
        id=texts.get("id", ""),
        event=texts.get("event", ""),
        reader=texts.get("reader", ""),
        reason=texts.get("reason", ""),
        deliveries=int(texts.get("deliveries") or 0),
        at=datetime.fromtimestamp(int(texts.get("at") or 0) / 1000, UTC),
    )
