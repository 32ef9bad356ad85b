"""Paths into an event: what a trigger makes a workflow's inputs and ordering key of.

A path begins with a key of the event (``after.id``, ``source.tenant``), with ``event`` for all of it, or with ``row``:
the row after, of a delete the one before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dataflow.errors import EventError, TriggerError
from dataflow.values import child

#: Keys of an event, and what else a path may begin with.
ROOTS = ("event", "row", "v", "id", "op", "before", "after", "changed", "source", "tx", "ts_ms", "ts_read_ms")
_FIELD = re.compile(r"\{([^{}]*)\}")


def check_paths(part: str, given: Any) -> None:
    """Refuse what is no path, or a dict of paths.

    Raises:
        TriggerError: It is none.
    """
    if isinstance(given, Mapping):
        for name, path in given.items():
            if not isinstance(name, str):
                raise TriggerError(f"{part} maps names to paths, and {name!r} is no name.", part=part, value=name)
            check_paths(part, path)
    elif not isinstance(given, str) or given.split(".")[0] not in ROOTS:
        raise TriggerError(
            f"{part} has {given!r}, which is no path into an event.",
            hint=f"'after.id' is one. Paths begin with {', '.join(ROOTS)}.",
            part=part,
            value=given,
        )


def check_key(key: str) -> None:
    """Refuse an ordering key that is no text with paths in braces.

    Raises:
        TriggerError: It is none.
    """
    if not isinstance(key, str) or not key:
        raise TriggerError("ordering_key is text, such as 'order:{after.id}'.", part="ordering_key", value=key)
    for path in _FIELD.findall(key):
        check_paths("ordering_key", path)


def pick(event: Mapping[str, Any], paths: Any) -> Any:
    """What an event has where these paths lead.

    Raises:
        EventError: One leads nowhere.
    """
    if isinstance(paths, Mapping):
        return {name: pick(event, path) for name, path in paths.items()}
    root, *parts = paths.split(".")
    if root == "event":
        found: Any = event
    elif root == "row":
        found = event["before"] if event["after"] is None else event["after"]
    else:
        found = event[root]
    for part in parts:
        try:
            found = child(found, part)
        except LookupError as error:
            raise EventError(f"The event has no {paths!r}: {error}.") from None
    return found


def fill(key: str, event: Mapping[str, Any]) -> str:
    """An ordering key with what an event has where its paths lead.

    Raises:
        EventError: One leads nowhere.
    """
    return _FIELD.sub(lambda found: str(pick(event, found[1])), key)
