"""Schedules: workflows and actors that run because it is time."""

from dataflow.schedules.schedule import Misfire, Overlap, Schedule
from dataflow.schedules.timing import Timing

__all__ = ["Misfire", "Overlap", "Schedule", "Timing"]
