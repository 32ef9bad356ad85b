"""Plain values (dicts, lists and what they hold): reading inside them, and copying them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

#: Types of which no value is a mapping; asking them is several times as fast as asking the abstract class.
_SCALARS = frozenset({str, int, float, bool, NoneType, bytes, Decimal, datetime, date, UUID, list, tuple})


def is_mapping(value: Any) -> bool:
    """``isinstance(value, Mapping)``, quickly for plain values."""
    kind = type(value)
    return kind is dict or (kind not in _SCALARS and isinstance(value, Mapping))


def child(value: Any, part: str) -> Any:
    """What ``value`` holds under a key of a dict or an index of a list. Attributes of objects are out of reach.

    Raises:
        LookupError: Nothing; the message says what is there.
    """
    if isinstance(value, Mapping):
        if part in value:
            return value[part]
    elif isinstance(value, list | tuple):
        try:
            return value[int(part)]
        except (ValueError, IndexError):
            pass
    raise LookupError(f"there is {describe(value)}")


def describe(value: Any) -> str:
    """What can be looked up in a value, in a few words."""
    if isinstance(value, Mapping):
        keys = [str(key) for key in value]
        if not keys:
            return "an empty dict"
        return ", ".join(keys[:12]) + (", …" if len(keys) > 12 else "")
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def copy_containers(value: Any) -> Any:
    """``value`` with its dicts, lists, tuples and sets copied at every depth; what they hold is shared."""
    # The test for a container is made here too, since a call for every number of a large table is most of the cost.
    kind = type(value)
    if kind is dict:
        return {key: copy_containers(item) if type(item) in _CONTAINERS else item for key, item in value.items()}
    if kind is list:
        return [copy_containers(item) if type(item) in _CONTAINERS else item for item in value]
    if kind is tuple:
        return tuple([copy_containers(item) for item in value])
    if kind is set:
        return set(value)
    return value


_CONTAINERS = frozenset({dict, list, tuple, set})
