"""Which node types exist: built-in ones, and those of each DataFlow instance.

A workflow is built and run against a NodeCatalog: by default that of the process (built-in nodes and every open
instance), in a worker that of the instances it serves.
"""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from dataflow.errors import AmbiguousNodeError, ConfigurationError, NodeNotFoundError, did_you_mean
from dataflow.nodes.interface import Node


class NodeSource(Protocol):
    """A DataFlow instance, as far as a catalog is concerned."""

    @property
    def name(self) -> str:
        """What ``"database"`` in a node's parameters calls it."""
        ...

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Its node types."""
        ...

    @property
    def environment(self) -> tuple[str, ...]:
        """Names of environment variables that it lets workflows read."""
        ...


class NodeCatalog(Protocol):
    """Finds a node by type; the whole of what workflows and runtimes know of nodes."""

    @property
    def version(self) -> int:
        """Changes when what it offers changes, so that what was resolved before may be kept until then."""
        ...

    def environment(self) -> dict[str, str]:
        """The environment variables that ``{{env.NAME}}`` may read: those that an instance allows, where set."""
        ...

    def resolve(self, node_type: str, database: str | None = None) -> Node:
        """The node of that type.

        Raises:
            NodeNotFoundError: There is none; the message names the nearest.
            AmbiguousNodeError: Several instances offer it and ``database`` names none of them.
            ConfigurationError: ``database`` names no instance.
        """
        ...


class Catalog:
    """Built-in nodes and those of some instances."""

    def __init__(self, builtin: Mapping[str, Node], sources: Iterable[NodeSource] = ()) -> None:
        self.version = 0
        self._builtin = builtin
        self._sources = tuple(sources)

    def sources(self) -> tuple[NodeSource, ...]:
        """The instances, in order of their making."""
        return self._sources

    def environment(self) -> dict[str, str]:
        """The environment variables that workflows may read."""
        allowed = {name for source in self.sources() for name in source.environment}
        return {name: os.environ[name] for name in allowed if name in os.environ}

    def resolve(self, node_type: str, database: str | None = None) -> Node:
        sources = self.sources()
        if database is not None:
            sources = tuple(source for source in sources if source.name == database)
            if not sources:
                raise ConfigurationError(
                    f"No DataFlow instance is named {database!r}.",
                    hint=did_you_mean(database, (source.name for source in self.sources())),
                )
        offers = [source for source in sources if node_type in source.nodes]
        if len(offers) > 1:
            # An instance that nobody holds any more offers nothing; it may only wait for the collector.
            del sources, offers
            gc.collect()
            offers = [s for s in self.sources() if node_type in s.nodes and database in (None, s.name)]
        if len(offers) == 1:
            return offers[0].nodes[node_type]
        if offers:
            raise _ambiguous(node_type, offers, database)
        if node_type in self._builtin:
            return self._builtin[node_type]
        raise NodeNotFoundError(
            f"There is no node type {node_type!r}" + (f" in {database!r}." if database else "."),
            hint=did_you_mean(node_type, self._known()),
            node_type=node_type,
        )

    def _known(self) -> Iterator[str]:
        yield from self._builtin
        for source in self.sources():
            yield from source.nodes


def _ambiguous(node_type: str, offers: list[NodeSource], database: str | None) -> AmbiguousNodeError:
    names = ", ".join(repr(source.name) for source in offers)
    if database is None and len({source.name for source in offers}) == len(offers):
        hint = f'Add "database": "{offers[0].name}" to its parameters, or close the instance you do not use.'
    else:
        hint = "Give each its own name, DataFlow(url, name=…), or close the one you do not use."
    return AmbiguousNodeError(
        f"{node_type} is offered by {len(offers)} DataFlow instances: {names}.",
        hint=hint,
        node_type=node_type,
        instances=[source.name for source in offers],
    )


class ProcessCatalog(Catalog):
    """Built-in nodes and those of every open instance of the process, held weakly."""

    def __init__(self) -> None:
        self._provided: dict[str, Node] = {}
        super().__init__(self._provided)
        self._open: list[weakref.ref[NodeSource]] = []

    def provide(self, builtin: Mapping[str, Node]) -> None:
        """Offer built-in nodes."""
        self._provided.update(builtin)
        self.version += 1

    def add(self, source: NodeSource) -> None:
        """Offer an instance's nodes, until it is removed or nobody holds it."""
        self._open = [ref for ref in self._open if ref() is not None]
        self._open.append(weakref.ref(source))
        self.version += 1

    def remove(self, source: NodeSource) -> None:
        """Stop offering an instance's nodes."""
        self._open = [ref for ref in self._open if ref() not in (None, source)]
        self.version += 1

    def sources(self) -> tuple[NodeSource, ...]:
        return tuple(source for ref in self._open if (source := ref()) is not None)


#: The catalog of this process. ``dataflow.nodes`` provides the built-in nodes as it is imported, which is before
#: anything can import this module.
process_catalog = ProcessCatalog()
