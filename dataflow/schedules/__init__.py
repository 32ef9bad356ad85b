"""Schedules: workflows and actors that run because it is time."""

from dataflow.schedules.schedule import Misfire, Overlap, Schedule
from dataflow.schedules.timing import Ticks, Timing

__all__ = ["Misfire", "Overlap", "Schedule", "Ticks", "Timing"]
