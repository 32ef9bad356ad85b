"""Schedules: workflows and actors that run because it is time."""

from dataflow.schedules.info import ScheduleInfo, Tick
from dataflow.schedules.schedule import Misfire, Overlap, Schedule
from dataflow.schedules.schedules import Schedules
from dataflow.schedules.timing import Ticks, Timing

__all__ = ["Misfire", "Overlap", "Schedule", "ScheduleInfo", "Schedules", "Tick", "Ticks", "Timing"]
