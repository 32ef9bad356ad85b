"""ScheduleStore: schedules as Redis keeps them.

A schedule is a hash::

    document          its declaration, as JSON (schedule.py)
    sig               the proof that a holder of the signing keys wrote it, where there are keys
    revision          changes with the document and the state; a random text
    state, reason     active, paused, ended or broken (it cannot run); and why
    next_due          Unix time of the next tick, jitter left out; '' where none is to come
    since             Unix time from which its ticks count: those before belong to another declaration, or to a pause
    anchor            Unix time from which intervals are counted
    origin, declared  'declared' in the code or 'runtime'; digest of the code's declaration at the last sync
    created, changed  Unix times
    last_due, last_job, last_queued           of the job that was queued last
    last_outcome, last_ended, last_ended_job  of the job that ended last
    last_missed                               Unix time of the last tick that was missed
    queued, skipped, missed                   ticks, by what became of them
    finished, failed, stopped, canceled       jobs, by how they ended

Times are the server's. What is changed is written only if it is still as it was read (``put.lua``), so that nobody's
change is lost, and no tick.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from dataflow.errors import ScheduleError
from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.scripts import LUA, Argument, Script
from dataflow.jobs.signatures import SigningKeys
from dataflow.jobs.times import format_time
from dataflow.schedules.schedule import Schedule

_LUA = Path(__file__).parent / "lua"
#: Functions that scripts of schedules share.
SHARED_LUA = _LUA / "schedule.lua"
_PUT = Script(_LUA / "put.lua", SHARED_LUA)
_REMOVE = Script(_LUA / "remove.lua", SHARED_LUA)
_HAND = Script(_LUA / "hand.lua", LUA / "put_job.lua", SHARED_LUA)

#: What the sorted set says of a schedule that starts nothing.
NEVER = "+inf"
#: Seconds that the history of a removed schedule is kept.
HISTORY_KEPT = 86_400
#: Schedules read in one round trip.
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """What Redis holds of a schedule at one moment.

    Attributes:
        name: Its name.
        now: That moment, by the server's clock.
        fields: The hash; empty where there is no such schedule.
    """

    name: str
    now: datetime
    fields: Mapping[str, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return "document" in self.fields

    def text(self, name: str) -> str:
        """A field as text; '' where it is not there."""
        return self.fields.get(name, b"").decode(errors="replace")

    def moment(self, name: str) -> datetime | None:
        """A field as a moment; None where it is empty, or no Unix time."""
        return moment_of(self.fields.get(name, b""))

    def number(self, name: str) -> int:
        """A counter."""
        value = self.fields.get(name, b"")
        return int(value) if value.isdigit() else 0


class ScheduleStore:
    """The schedules of one instance in Redis.

    Args:
        broker: Where.
        owner: Name of the instance.
        signing_keys: Sign declarations, and refuse those that are not signed.
    """

    def __init__(self, broker: Broker, owner: str, signing_keys: SigningKeys | None = None) -> None:
        self._broker = broker
        self._owner = owner
        self._keys = signing_keys

    async def read(self, name: str) -> Entry:
        """A schedule as it is now; an empty entry where there is none.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        return (await self.read_many([name]))[0]

    async def read_many(self, names: Iterable[str]) -> list[Entry]:
        """Schedules as they are now; errors as of ``read``."""
        client = await self._broker.client()
        entries: list[Entry] = []
        remaining = iter(names)
        while chunk := list(itertools.islice(remaining, CHUNK)):
            async with self._broker.errors(), client.pipeline(transaction=True) as pipeline:
                pipeline.time()
                for name in chunk:
                    pipeline.hgetall(keys.schedule(self._owner, name))
                # A key of another type, which somebody else wrote, must not hide the others.
                (seconds, micros), *hashes = await pipeline.execute(raise_on_error=False)
            now = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
            for name, found in zip(chunk, hashes, strict=True):
                fields = {} if isinstance(found, Exception) else {key.decode(): item for key, item in found.items()}
                entries.append(Entry(name, now, fields))
        return entries

    async def names(self) -> list[str]:
        """Names of all schedules, sorted; errors as of ``read``."""
        client = await self._broker.client()
        async with self._broker.errors():
            found: Any = await client.zrange(keys.schedules(self._owner), 0, -1)
        return sorted(name.decode(errors="replace") for name in found)

    def schedule_of(self, entry: Entry) -> Schedule:
        """The declaration of an entry.

        Raises:
            ScheduleError: It is damaged, or of another version.
            SignatureError: There are signing keys, and it is not signed with one of them.
        """
        document = entry.fields.get("document", b"")
        if self._keys is not None:
            self._keys.check_seal(entry.fields.get("sig", b""), self._sealed_as(entry.name), document)
        try:
            found = msgspec.json.decode(document)
        except msgspec.DecodeError as error:
            raise ScheduleError(f"The schedule's document is damaged: {error}.", part="document") from error
        if not isinstance(found, dict) or found.get("name") != entry.name:
            raise ScheduleError("The schedule's document is another schedule's.", part="document")
        return Schedule.from_document(found)

    async def put(
        self,
        before: Entry,
        *,
        state: str,
        due: datetime | None,
        schedule: Schedule | None = None,
        reason: str = "",
        **fields: Argument,
    ) -> bool:
        """Write a schedule that is still as it was read; whether it was.

        Args:
            before: As it was read.
            state: ``active``, ``paused``, ``ended`` or ``broken``.
            due: Its next tick.
            schedule: Its declaration, if that is new or starts anything.
            reason: Of the state.
            fields: Further ones of the hash.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        starts = NEVER
        if state == "active" and schedule is not None and due is not None:
            starts = unix_text(schedule.fires_at(due, self._owner))
        written: dict[str, Argument] = {
            "revision": secrets.token_hex(8),
            "state": state,
            "reason": reason,
            "next_due": unix_text(due),
            "changed": unix_text(before.now),
            **fields,
        }
        if schedule is not None:
            document = msgspec.json.encode(schedule.to_document())
            written["document"] = document
            if self._keys is not None:
                written["sig"] = self._keys.seal(self._sealed_as(schedule.name), document)
        arguments: list[Argument] = [
            self._owner, before.name, before.text("revision"), before.text("next_due"), starts,
            *itertools.chain.from_iterable(written.items()),
        ]  # fmt: skip
        return bool(await self._broker.run(_PUT, arguments))

    async def remove(self, before: Entry) -> bool:
        """Remove a schedule that is still as it was read; whether it was. Its history goes a day later.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        arguments: list[Argument] = [self._owner, before.name, before.text("revision"), HISTORY_KEPT]
        return bool(await self._broker.run(_REMOVE, arguments))

    async def start_now(self, entry: Entry, job: Sequence[Argument]) -> str | None:
        """Enqueue a job of a schedule beside its ticks; its status, or None where there is no such schedule.

        Args:
            entry: The schedule.
            job: Arguments of ``put_job.lua``.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        arguments: list[Argument] = [
            self._owner, entry.name, format_time(entry.now), unix_text(entry.now), *job
        ]  # fmt: skip
        status = await self._broker.run(_HAND, arguments)
        return None if status is None else status.decode()

    async def history(self, name: str) -> list[dict[str, Any]]:
        """What became of its last ticks, newest first; errors as of ``read``."""
        client = await self._broker.client()
        async with self._broker.errors():
            found: Any = await client.lrange(keys.ticks(self._owner, name), 0, -1)
        return [msgspec.json.decode(item) for item in found]

    async def leader(self) -> str | None:
        """Name of the scheduler that leads, None where none does; errors as of ``read``."""
        client = await self._broker.client()
        async with self._broker.errors():
            name: Any = await client.get(keys.leader(self._owner))
        return None if name is None else name.decode(errors="replace")

    def _sealed_as(self, name: str) -> str:
        return f"schedule {self._owner}:{name}"


def unix_text(moment: datetime | None) -> str:
    """A moment as a field of the hash: a Unix time with microseconds, or ''."""
    return "" if moment is None else f"{moment.timestamp():.6f}"


def moment_of(text: bytes) -> datetime | None:
    """The moment that a field of the hash holds; None where it is empty, or no Unix time."""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        return None
