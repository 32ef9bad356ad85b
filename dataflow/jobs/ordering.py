"""Ordering keys of actors: how the key of a call is made of its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

from dataflow.errors import ConfigurationError, InputError, did_you_mean

#: A format text (``"customer:{customer}"``), or a function of arguments that it names as its own parameters.
OrderingKey = str | Callable[..., str | None]


def key_maker(
    given: OrderingKey | None, actor: str, defaults: Mapping[str, Any], parameters: tuple[str, ...], *, takes_more: bool
) -> Callable[[Mapping[str, Any]], str | None]:
    """A function from the arguments of a call, by name, to its key; None is no key.

    Args:
        given: What ``db.actor`` was told.
        actor: What messages call the actor.
        defaults: Values of arguments that a call leaves out.
        parameters: Names of its parameters.
        takes_more: It also takes others (``**kwargs``).

    Raises:
        ConfigurationError: It asks for what is no parameter of the actor.
    """
    if given is None:
        return lambda _: None
    if isinstance(given, str):
        used = {_root(field) for _, field, _, _ in Formatter().parse(given) if field is not None}
    else:
        used = set(inspect.signature(given).parameters)
    for name in used:
        if name not in parameters and not takes_more:
            raise ConfigurationError(
                f"The ordering key of the actor {actor} uses {name!r}, which is no parameter of it.",
                hint=did_you_mean(name, parameters) or "Name arguments: 'customer:{customer}'.",
            )

    def key_of(arguments: Mapping[str, Any]) -> str | None:
        values = {**defaults, **arguments}
        missing = used - values.keys()
        if missing:
            raise InputError(f"The ordering key of {actor} needs the argument {min(missing)!r}.")
        if isinstance(given, str):
            return given.format_map(values)
        return given(**{name: values[name] for name in used})

    return key_of


def _root(field: str) -> str:
    """Name of the argument that a field of a format text begins with."""
    return field.partition(".")[0].partition("[")[0]
