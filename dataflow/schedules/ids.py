"""Ids of the jobs of schedules: made of owner, schedule and due time, so that a tick enqueued twice is one job.

Both names may hold ``-`` and ``_``, and two schedules must not share an id. So in the owner's name each of the two has
a ``_`` before it, and the first ``-`` without one ends it: ``shop-eu`` and ``nightly`` are ``shop_-eu-nightly-…``.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

_DUE = re.compile(r"-(\d{8}T\d{6})(\d{3})?Z(?:-[0-9a-f]{8})?$")


def tick_id(owner: str, name: str, due: datetime) -> str:
    """Id of the job of a tick: ``default-nightly-20261122T020000Z``, with milliseconds where there are some."""
    moment = due.astimezone(UTC)
    milliseconds = moment.microsecond // 1000
    owner = re.sub("[_-]", r"_\g<0>", owner)
    return f"{owner}-{name}-{moment:%Y%m%dT%H%M%S}{f'{milliseconds:03}' if milliseconds else ''}Z"


def hand_id(owner: str, name: str, moment: datetime) -> str:
    """Id of a job that somebody asked for at that moment; another each time."""
    return f"{tick_id(owner, name, moment)}-{secrets.token_hex(4)}"


def due_of(job_id: str) -> datetime | None:
    """The due time in the id of a schedule's job; None where it is none."""
    found = _DUE.search(job_id)
    if found is None:
        return None
    due = datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    return due.replace(microsecond=int(found[2] or 0) * 1000)
