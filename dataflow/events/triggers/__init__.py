"""Triggers: workflows and actors that start because something changed."""

from dataflow.events.triggers.info import TriggerInfo
from dataflow.events.triggers.trigger import Trigger
from dataflow.events.triggers.triggers import Triggers

__all__ = ["Trigger", "TriggerInfo", "Triggers"]
