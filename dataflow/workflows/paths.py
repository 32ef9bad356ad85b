"""Output paths: ``records.0.id`` says where in a node's output a value is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.errors import OutputPathError, did_you_mean
from dataflow.values import child, describe

#: Parts of an output path.
Path = tuple[str, ...]

#: A path's first part that stands for the whole output, where the output has no such key.
WHOLE = "result"


def parse_path(text: str) -> Path:
    """The parts of a path.

    Raises:
        OutputPathError: It is not text, or a part is empty.
    """
    parts = tuple(text.split(".")) if isinstance(text, str) else ()
    if not all(parts) or not parts:
        raise OutputPathError(
            f"{text!r} is not an output path.", hint="Write keys and list indexes with dots between: 'records.0.id'."
        )
    return parts


def resolve_path(output: Mapping[str, Any], path: Path, node_id: str) -> Any:
    """The value at a path of a node's output.

    Raises:
        OutputPathError: The path leads nowhere; the message lists what is there.
    """
    first = path[0]
    if first in output:
        value = output[first]
    elif first == WHOLE:
        value = output
    else:
        raise _nowhere(output, path, 0, node_id)
    for index in range(1, len(path)):
        try:
            value = child(value, path[index])
        except LookupError:
            raise _nowhere(value, path, index, node_id) from None
    return value


def _nowhere(value: Any, path: Path, index: int, node_id: str) -> OutputPathError:
    where = f" at '{'.'.join(path[:index])}'" if index else ""
    keys = [str(key) for key in value] if isinstance(value, Mapping) else []
    hint = did_you_mean(path[index], keys) if keys else None
    return OutputPathError(
        f"The output of node '{node_id}' has no '{path[index]}'{where}: there is {describe(value)}.",
        hint=hint if hint and not hint.startswith("Known") else None,
        node_id=node_id,
        path=".".join(path),
    )
