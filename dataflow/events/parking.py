"""Dead letters of those who read no stream of their own: they add them one by one."""

from __future__ import annotations

import time

from dataflow.jobs import Broker, keys

#: Dead letters that are kept, about.
KEPT = 100_000


async def park(broker: Broker, owner: str, stream: str, event_id: str, event: bytes, reader: str, reason: str) -> None:
    """Add a dead letter.

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
        "at": time.time_ns() // 1_000_000,
    }  # fmt: skip
    async with broker.errors():
        await client.xadd(keys.events_dead(owner), fields, maxlen=KEPT, approximate=True)  # type: ignore[arg-type]
