"""Dead letters: events that somebody could not do, and why; in the stream ``rq:dataflow:events-dead:OWNER``."""

from __future__ import annotations

from dataflow.jobs import Broker, keys
from dataflow.jobs.times import now_text

#: Dead letters that are kept, about.
MOST_DEAD = 100_000


async def park(broker: Broker, owner: str, stream: str, event_id: str, event: bytes, reader: str, reason: str) -> None:
    """Keep an event that could not be done.

    Args:
        broker: Where the streams are.
        owner: Name of the instance.
        stream: Where the event is: the name of its table, or ``@`` and its type.
        event_id: Its id there.
        event: The event as JSON.
        reader: Who could not do it.
        reason: Why.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    client = await broker.client()
    fields = {
        "stream": stream, "id": event_id, "event": event, "reader": reader, "reason": reason, "deliveries": 1,
        "at": now_text(),
    }  # fmt: skip
    async with broker.errors():
        await client.xadd(keys.events_dead(owner), fields, maxlen=MOST_DEAD, approximate=True)  # type: ignore[arg-type]
