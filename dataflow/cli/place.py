"""Which schedules or triggers a command is about: those of an application, in its broker or another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Generic, Protocol, Self, TypeVar

import typer

from dataflow.app import DataFlow
from dataflow.cli.loading import load_apps
from dataflow.errors import ConfigurationError, InputError, did_you_mean
from dataflow.jobs import Broker

T = TypeVar("T")


class Named(Protocol):
    """A schedule or trigger that the code declares."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


class Kept(Protocol):
    """What an instance keeps in Redis: its schedules, or its triggers."""

    owner: str

    @property
    def declared(self) -> Sequence[Named]:
        """Those that the code declares."""
        ...

    def in_broker(self, broker: Broker) -> Self:
        """The same in another broker."""
        ...


K = TypeVar("K", bound=Kept)


class Place(Generic[K]):
    """The instances whose schedules or triggers a command is about, each with its broker.

    Args:
        kept: Gives them of an instance.
        target: Name of the application, which knows its workflows, its signing keys and its name.
        url: The broker's URL; default the application's.
        instance: Name of one instance.

    Raises:
        ConfigurationError: The application is not named or cannot be loaded, or no broker is named.
        InputError: It has no such instance.
    """

    def __init__(
        self, kept: Callable[[DataFlow], K], target: str | None, url: str | None, instance: str | None
    ) -> None:
        if target is None:
            raise ConfigurationError(
                "Schedules and triggers belong to an application.", hint="Give --app app:db, or set DATAFLOW_APP."
            )
        found = {one.name: one for one in load_apps(target)}
        if instance is not None and instance not in found:
            raise InputError(f"{target} has no instance {instance!r}.", hint=did_you_mean(instance, found))
        self._brokers: list[Broker] = []
        self.all: list[K] = []
        for name, one in found.items():
            if instance in (None, name):
                named = one.settings.broker_url(url)
                if named is None:
                    raise ConfigurationError(
                        "No broker is named.", hint="Give --redis-url redis://host:6379/0, or set REDIS_URL."
                    )
                self._brokers.append(Broker(named))
                self.all.append(kept(one).in_broker(self._brokers[-1]))

    @property
    def one(self) -> K:
        """Those of the one instance that the command is about.

        Raises:
            InputError: There are several.
        """
        if len(self.all) > 1:
            names = ", ".join(one.owner for one in self.all)
            raise InputError(f"The application has several instances: {names}.", hint="Name one with --instance.")
        return self.all[0]

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a command's work to its end, then disconnect."""

        async def main() -> T:
            try:
                return await work()
            finally:
                for broker in self._brokers:
                    await broker.close()

        return asyncio.run(main())


def tell_absent(kept: Kept, there: Collection[str]) -> None:
    """Say which of those that the code declares are not in Redis yet."""
    if absent := [item.name for item in kept.declared if item.name not in there]:
        typer.echo(
            f"{', '.join(absent)}: declared in the code, and in Redis once a scheduler of this code starts.", err=True
        )
