"""The worker's Lua scripts."""

from __future__ import annotations

from pathlib import Path

from dataflow.jobs.scripts import Script

_LUA = Path(__file__).parent / "lua"


def load_script(name: str) -> Script:
    """A script of the worker."""
    return Script(_LUA / f"{name}.lua")
