"""How the captures of a broker's instances fare, as ``dataflow/events/publisher.py`` notes it in Redis."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dataflow.jobs import keys
from dataflow.jobs.broker import Broker

#: Seconds after which a capture that could not read its database does not get on; one that can says so every 5.
SILENCE = 15.0


@dataclass(frozen=True, slots=True)
class CaptureInfo:
    """How one capture fares.

    Attributes:
        instance: Name of the instance.
        state: ``running``; ``silent``, where a process captures and cannot read its database; ``stopped``.
        mechanism: ``pgoutput``, ``binlog`` or ``outbox``; empty before the first start.
        epoch: Counts the database's logs.
        reason: Why the epoch is not the first.
        events: Published since Redis knows of it.
        lag: Seconds from the commit of the last event to its publication; None before the first.
        silence: Seconds since the database could be read; None before the first time.
        snapshots: Table → what became of its snapshot: state, rows.
    """

    instance: str
    state: str
    mechanism: str
    epoch: int
    reason: str
    events: int
    lag: float | None
    silence: float | None
    snapshots: Mapping[str, Mapping[str, Any]]


async def read_captures(broker: Broker, instances: Iterable[str] | None = None) -> list[CaptureInfo]:
    """How captures fare.

    Args:
        broker: Where they publish.
        instances: Of which instances; None for all that the broker knows, and has data of.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    client: Any = await broker.client()
    async with broker.errors():
        known = instances is None
        if instances is None:
            instances = [name.decode() for name in await client.smembers(keys.CAPTURES)]
        seconds, micros = await client.time()
        now = seconds + micros / 1e6
        found = []
        for name in sorted(instances):
            fields = {key.decode(): value.decode() for key, value in (await client.hgetall(keys.capture(name))).items()}
            if not fields and known:
                continue
            found.append(_info(name, fields, now, taken=bool(await client.exists(keys.capture_lock(name)))))
    return found


def _info(name: str, fields: Mapping[str, str], now: float, *, taken: bool) -> CaptureInfo:
    silence = max(0.0, now - int(fields["seen_ms"]) / 1e3) if "seen_ms" in fields else None
    state = "stopped"
    if taken:
        state = "silent" if silence is None or silence > SILENCE else "running"
    prefix = "snapshot:"
    return CaptureInfo(
        instance=name,
        state=state,
        mechanism=fields.get("mechanism", ""),
        epoch=int(fields.get("epoch", 0)),
        reason=fields.get("reason", ""),
        events=int(fields.get("published", 0)),
        lag=int(fields["lag_ms"]) / 1e3 if "lag_ms" in fields else None,
        silence=silence,
        snapshots={
            key.removeprefix(prefix): {part: one[part] for part in ("state", "rows") if part in one}
            for key, one in ((key, json.loads(value)) for key, value in fields.items() if key.startswith(prefix))
        },
    )
