"""``db.events``, ``db.on`` and their kin: change events, who reads them, and what they start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from dataflow.jobs import Broker
from dataflow.models import ModelSpec


class OffersEvents(ABC):
    """The part of a DataFlow instance that has events."""

    name: str

    @property
    @abstractmethod
    def broker(self) -> Broker:
        """The Redis that the streams of events are in."""

    @property
    @abstractmethod
    def models(self) -> Mapping[str, ModelSpec]:
        """Model name → ModelSpec."""
