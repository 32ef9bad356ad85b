"""Where a reader begins: now, at the start, after an event, or at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from dataflow.errors import InputError
from dataflow.events.envelope import Event
from dataflow.events.ids import START, EntryId, checked_id, parse_id
from dataflow.events.stream_link import Command, StreamLink
from dataflow.jobs import keys

#: None: from now on; ``"start"``: all that is kept; an event, or an id: what came after it; a moment, or how long ago.
Since = datetime | timedelta | Event | str | None

#: Clocks of the database and of Redis may differ so much.
_CLOCKS_DIFFER = timedelta(minutes=1)


class Beginning(NamedTuple):
    """Where a reader begins.

    Attributes:
        after: The id before the first that it wants.
        moment: What was committed before it, it does not want.
        misses: Whether what was removed since ``after`` is missed.
    """

    after: EntryId
    moment: datetime | None = None
    misses: bool = True


def check_since(since: Since) -> None:
    """Raise what is wrong with a beginning, before anything is asked of Redis.

    Raises:
        InputError: It is none.
    """
    if isinstance(since, str) and since != "start":
        checked_id(since)
    elif isinstance(since, datetime) and since.tzinfo is None:
        raise InputError("since has no time zone.", hint="Give datetime.now(UTC), or a timedelta.", value=since)
    elif since is not None and not isinstance(since, datetime | timedelta | Event | str):
        raise InputError(
            f"Events are not read since {since!r}.",
            hint="Give 'start', an event or its id, a datetime or a timedelta; None is from now on.",
            value=since,
        )


async def beginning(link: StreamLink, owner: str, streams: Sequence[str], since: Since) -> Beginning:
    """Where in the streams of an instance a reader begins.

    Raises:
        BrokerUnavailableError: Redis cannot be reached.
    """
    if isinstance(since, Event):
        since = since.id
    if isinstance(since, str):
        return Beginning(START, misses=False) if since == "start" else Beginning(checked_id(since))
    if since is None:
        return Beginning(await _now(link, owner, streams))
    moment = datetime.now(UTC) - since if isinstance(since, timedelta) else since
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)  # as events have it
    early = (moment - _CLOCKS_DIFFER).timestamp()
    [noted] = await link.send(("ZREVRANGEBYSCORE", keys.capture_times(owner), early, "-inf", "LIMIT", 0, 1))
    return Beginning(parse_id(noted[0].split()[0]) if noted else START, moment)


async def _now(link: StreamLink, owner: str, streams: Sequence[str]) -> EntryId:
    """After all that was published until now. Entries come in the order of their ids, whatever their stream."""
    lasts: list[Command] = [("XREVRANGE", keys.events(owner, name), "+", "-", "COUNT", 1) for name in streams]
    place = ("HMGET", keys.capture(owner), "epoch", "position", "index")
    (epoch, position, index), *found = await link.send(place, *lasts)
    places = [parse_id(entries[0][0]) for entries in found if entries]
    if epoch:
        places.append((int(epoch) << 56 | int(position or 0), int(index or 0)))
    return max(places, default=START)
