"""The scheduler's Lua scripts."""

from __future__ import annotations

from pathlib import Path

from dataflow.jobs.scripts import LUA, Script
from dataflow.schedules.store import SHARED_LUA

_LUA = Path(__file__).parent / "lua"

LEAD = Script(_LUA / "lead.lua")
LOOK = Script(_LUA / "look.lua", SHARED_LUA)
TICK = Script(_LUA / "tick.lua", LUA / "put_job.lua", LUA / "cancel_job.lua", SHARED_LUA)
FIRE = Script(_LUA / "fire.lua", LUA / "put_job.lua")
