"""TriggerStore: triggers as Redis keeps them.

A trigger is a hash::

    document          its declaration (trigger.py)
    sig               the proof that a holder of the signing keys wrote it, where there are keys
    revision          changes with the document and the state; a random text
    state, reason     active or paused; and why
    streams           where its events are, as JSON
    origin, declared  'declared' in the code or 'runtime'; digest of the code's declaration at the last sync
    created, changed  Unix times
    fired, dead       events that started a job; that could not
    last_job, last_event, last_fired   of the job that was queued last; Unix time

How far it is in a stream is the field ``trigger:NAME`` of the hash of those who read that stream, so that nothing is
trimmed that it has yet to do.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from dataflow.errors import TriggerError
from dataflow.events.triggers.trigger import Trigger
from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.scripts import Argument, Script
from dataflow.jobs.signatures import SigningKeys
from dataflow.nodes.registry import process_catalog

_LUA = Path(__file__).parent / "lua"
_PUT = Script(_LUA / "put_trigger.lua")
_REMOVE = Script(_LUA / "remove_trigger.lua")

#: Where a trigger goes on that has no place in a stream yet: after what is published now.
NOW = ""


def reader_of(name: str) -> str:
    """What a trigger is called among those who read a stream."""
    return f"trigger:{name}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What Redis holds of a trigger at one moment; empty where there is none."""

    name: str
    fields: Mapping[str, bytes] = field(default_factory=dict)
    #: Stream → id of the last event that it has done.
    places: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return "document" in self.fields

    def text(self, name: str) -> str:
        """A field as text; '' where it is not there."""
        return self.fields.get(name, b"").decode(errors="replace")

    def number(self, name: str) -> int:
        """A counter."""
        value = self.fields.get(name, b"")
        return int(value) if value.isdigit() else 0

    def moment(self, name: str) -> datetime | None:
        """A field as a moment; None where it is empty, or no Unix time."""
        try:
            return datetime.fromtimestamp(float(self.fields.get(name, b"")), UTC)
        except (ValueError, OverflowError, OSError):
            return None

    @property
    def streams(self) -> list[str]:
        """Where its events are."""
        try:
            return msgspec.json.decode(self.fields.get("streams", b"[]"), type=list[str])
        except msgspec.MsgspecError:
            return []


class TriggerStore:
    """The triggers of one instance in Redis.

    Args:
        broker: Where.
        owner: Name of the instance.
        signing_keys: Sign declarations, and refuse those that are not signed.
    """

    def __init__(self, broker: Broker, owner: str, signing_keys: SigningKeys | None = None) -> None:
        self._broker = broker
        self._owner = owner
        self._keys = signing_keys

    async def names(self) -> list[str]:
        """Names of all triggers, sorted.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        client = await self._broker.client()
        async with self._broker.errors():
            found: Any = await client.smembers(keys.triggers(self._owner))
        return sorted(name.decode(errors="replace") for name in found)

    async def read(self, name: str) -> Entry:
        """A trigger as it is now; errors as of ``names``."""
        return (await self.read_many([name]))[0]

    async def read_many(self, names: Iterable[str]) -> list[Entry]:
        """Triggers as they are now; errors as of ``names``."""
        client = await self._broker.client()
        found: list[Entry] = []
        for name in names:
            key = keys.trigger(self._owner, name)
            async with self._broker.errors():
                fields: Any = await client.hgetall(key)
            entry = Entry(name, {key.decode(): value for key, value in fields.items()})
            async with self._broker.errors(), client.pipeline(transaction=False) as pipeline:
                for stream in entry.streams:
                    pipeline.hget(keys.event_cursors(self._owner, stream), reader_of(name))
                places = await pipeline.execute() if entry.streams else []
            known = {stream: place.decode() for stream, place in zip(entry.streams, places, strict=True) if place}
            found.append(Entry(name, entry.fields, known))
        return found

    def trigger_of(self, entry: Entry) -> Trigger:
        """The declaration of an entry.

        Raises:
            TriggerError: It is damaged, or of another version.
            SignatureError: There are signing keys, and it is not signed with one of them.
            WorkflowError: Its workflow uses what does not exist here.
        """
        document = entry.fields.get("document", b"")
        if self._keys is not None:
            self._keys.check_seal(entry.fields.get("sig", b""), self._sealed_as(entry.name), document)
        trigger = Trigger.decoded(document, process_catalog)
        if trigger.name != entry.name:
            raise TriggerError("The trigger's document is another trigger's.", part="document")
        return trigger

    async def put(
        self,
        before: Entry,
        *,
        state: str,
        streams: Sequence[str],
        trigger: Trigger | None = None,
        reason: str = "",
        places: Mapping[str, str] | None = None,
        **fields: Argument,
    ) -> bool:
        """Write a trigger that is still as it was read; whether it was.

        Args:
            before: As it was read.
            state: ``active`` or ``paused``.
            streams: Where its events are. It stays where it is in those that it has a place in.
            trigger: Its declaration, if that is new.
            reason: Of the state.
            places: Streams in which it goes on elsewhere: id of the last event that it does not want, or ``NOW``.
            fields: Further ones of the hash.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        moves = {**{stream: before.places.get(stream, NOW) for stream in streams}, **(places or {})}
        written: dict[str, Argument] = {
            "revision": secrets.token_hex(8),
            "state": state,
            "reason": reason,
            "streams": msgspec.json.encode(list(streams)),
            **fields,
        }
        if trigger is not None:
            document = trigger.encoded()
            written["document"] = document
            if self._keys is not None:
                written["sig"] = self._keys.seal(self._sealed_as(trigger.name), document)
        left = [stream for stream in before.streams if stream not in moves]
        arguments: list[Argument] = [self._owner, before.name, before.text("revision"), len(moves)]
        for stream, place in moves.items():
            arguments += (stream, before.places.get(stream, ""), place)
        arguments += (len(left), *left)
        for name, value in written.items():
            arguments += (name, value)
        return bool(await self._broker.run(_PUT, arguments))

    async def remove(self, before: Entry) -> bool:
        """Remove a trigger that is still as it was read; whether it was; errors as of ``names``."""
        arguments: list[Argument] = [self._owner, before.name, before.text("revision"), *before.streams]
        return bool(await self._broker.run(_REMOVE, arguments))

    def _sealed_as(self, name: str) -> str:
        return f"trigger {self._owner}:{name}"
