"""Ids of the jobs that events start: made of owner, trigger and event, so that an event enqueued twice is one job.

No two may share one. In the names of owner and trigger each ``-`` and ``_`` has a ``_`` before it, so that a ``-``
without one ends the name; in that of the stream, what is no letter, digit or ``_`` is its code between two ``-``.
"""

from __future__ import annotations

import re


def event_job_id(owner: str, trigger: str, stream: str, event_id: str) -> str:
    """Id of the job that an event starts.

    >>> event_job_id("default", "fulfil_order", "orders", "72057594060718864-0")
    'default-fulfil__order-orders-72057594060718864-0'
    """
    owner, trigger = (re.sub("[_-]", r"_\g<0>", name) for name in (owner, trigger))
    stream = re.sub("[^A-Za-z0-9_]", lambda found: f"-{ord(found[0]):x}-", stream)
    return f"{owner}-{trigger}-{stream}-{event_id}"
