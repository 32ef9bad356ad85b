"""The run ledger as nodes, runtime and worker see it: what a run remembers of its effects, should it be started again.

A node whose effect must happen once writes ``(run, node, output)`` into a ledger in the transaction of the effect. When
the run is started again, the output that is there takes the place of running the node.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

#: Characters of a node's id that a ledger keeps as they are.
_LONGEST_ID = 191


class Entry(NamedTuple):
    """What a ledger knows an effect by."""

    run: str
    node: str


class Ledger(Protocol):
    """Where entries are: one per database."""

    async def forget(self, entries: Sequence[Entry]) -> None:
        """Remove entries.

        Raises:
            DatabaseError: They could not be removed.
            BreakerOpenError: The database did not answer lately.
        """
        ...

    async def sweep(self, seconds: float) -> int:
        """Remove entries older than ``seconds``; returns how many.

        Raises:
            DatabaseError: They could not be removed.
            BreakerOpenError: The database did not answer lately.
        """
        ...


class RunRecord(ABC):
    """A run whose effects happen once, however often it is started. A subclass knows how outputs are kept.

    Args:
        run: What ledgers know it by: the same each time it is started, and never that of another run.
        again: It may have been started before, so its nodes look into the ledger before they do anything.

    Attributes:
        written: What this start has put into ledgers.
    """

    __slots__ = ("again", "run", "written")

    def __init__(self, run: str, *, again: bool = False) -> None:
        self.run = run
        self.again = again
        self.written: list[tuple[Ledger, Entry]] = []

    def entry(self, node_id: str) -> Entry:
        """What ledgers know the effect of a node by."""
        if len(node_id) > _LONGEST_ID:
            node_id = f"sha256:{sha256(node_id.encode()).hexdigest()}"
        return Entry(self.run, node_id)

    @abstractmethod
    def pack(self, output: Mapping[str, Any], node_id: str) -> bytes:
        """An output as a ledger keeps it; never begins with ``{`` or ``R`` and is never empty.

        Raises:
            InputError: It is too large, or has a value that cannot be kept.
        """

    @abstractmethod
    def unpack(self, data: bytes) -> dict[str, Any]:
        """The output that ``pack`` made bytes of."""
