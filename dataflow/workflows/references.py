"""What may stand between ``{{`` and ``}}``, and how each reads its value during a run.

=====================  ==============================================================================
``{{name}}``           an input of the run; ``{{customer.email}}`` looks inside it
``{{node.path}}``      the output of a node, as in a connection; ``{{node}}`` is the whole output
``{{env.NAME}}``       an environment variable that an instance allows
``{{now}}``            the moment the run started; ``{{now + 1h}}``, ``{{now - 7d}}`` (s, m, h, d, w)
=====================  ==============================================================================

A name that is a node id means the node, any other an input. ``now`` and ``env.…`` always have the meaning above.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dataflow.errors import InputError, MissingParameterError, did_you_mean
from dataflow.values import child, describe
from dataflow.workflows.paths import Path, resolve_path

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_NOW = re.compile(r"now(?:\s*([+-])\s*(\d{1,9})\s*([smhdw]))?")
_NAMES = re.compile(r"[^\W\d][\w-]*(?:\.[\w-]+)*")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run has to offer when a template is read.

    Attributes:
        results: Node id → output, of the nodes that have ended.
        inputs: Flat inputs of the run.
        now: When the run started, aware.
        environment: Gives the environment variables that may be read.
    """

    results: Mapping[str, Any]
    inputs: Mapping[str, Any]
    now: datetime
    environment: Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class NodeReference:
    """``{{node.path}}``; an empty path is the whole output."""

    node: str
    path: Path

    def read(self, scope: Scope) -> Any:
        output = scope.results[self.node]
        return resolve_path(output, self.path, self.node) if self.path else output


@dataclass(frozen=True, slots=True)
class InputReference:
    """``{{name}}`` or ``{{name.path}}``."""

    name: str
    path: Path

    def read(self, scope: Scope) -> Any:
        if self.name not in scope.inputs:
            hint = did_you_mean(self.name, {*scope.inputs, *scope.results})
            raise MissingParameterError(
                f"The template '{{{{{self}}}}}' needs the run input {self.name!r}, which was not given.",
                hint=f"{hint} Text that only looks like a template can be given as an input: inputs are taken as is.",
                input=self.name,
            )
        value = scope.inputs[self.name]
        for part in self.path:
            try:
                value = child(value, part)
            except LookupError:
                raise InputError(
                    f"The template '{{{{{self}}}}}' finds no '{part}': there is {describe(value)}.", input=self.name
                ) from None
        return value

    def __str__(self) -> str:
        return ".".join((self.name, *self.path))


@dataclass(frozen=True, slots=True)
class EnvironmentReference:
    """``{{env.NAME}}``."""

    name: str

    def read(self, scope: Scope) -> str:
        try:
            return scope.environment()[self.name]
        except KeyError:
            raise InputError(
                f"The template '{{{{env.{self.name}}}}}' may not be read, or the variable is not set.",
                hint=f'Set {self.name} in the environment, and allow it: DataFlow(url, env=["{self.name}"]).',
                variable=self.name,
            ) from None


@dataclass(frozen=True, slots=True)
class Moment:
    """``{{now}}``, with what is added to it.

    Attributes:
        offset: Added to the start of the run.
        as_text: Read as ISO 8601 text.
    """

    offset: timedelta
    as_text: bool

    def read(self, scope: Scope) -> datetime | str:
        moment = scope.now + self.offset
        return moment.isoformat() if self.as_text else moment


Reference = NodeReference | InputReference | EnvironmentReference | Moment


def parse_reference(text: str, node_ids: Collection[str], *, moments_as_text: bool) -> Reference:
    """What ``{{text}}`` means.

    Args:
        text: What stands between the braces.
        node_ids: The nodes of the workflow.
        moments_as_text: Read ``now`` as ISO 8601 text instead of a datetime.

    Raises:
        InputError: Nothing of the above.
    """
    text = text.strip()
    if match := _NOW.fullmatch(text):
        return Moment(_offset(text, *match.groups()), moments_as_text)
    if not _NAMES.fullmatch(text):
        raise InputError(
            f"'{{{{{text}}}}}' is not a template.",
            hint="Known are {{input}}, {{node.output}}, {{env.NAME}}, {{now}} and {{now + 1h}} (s, m, h, d, w). Text "
            "that only looks like a template can be given as an input of the run: inputs are taken as they are.",
        )
    first, *rest = text.split(".")
    if first == "env" and len(rest) == 1:
        return EnvironmentReference(rest[0])
    if first in node_ids:
        return NodeReference(first, tuple(rest))
    return InputReference(first, tuple(rest))


def _offset(text: str, sign: str | None, amount: str | None, unit: str | None) -> timedelta:
    if amount is None or unit is None:
        return timedelta(0)
    try:
        offset = timedelta(**{_UNITS[unit]: int(amount)}) * (-1 if sign == "-" else 1)
        datetime.now(UTC) + offset
    except OverflowError:
        raise InputError(f"'{{{{{text}}}}}' is outside the years 1 to 9999.") from None
    return offset
