"""Lua scripts: loaded from files, run by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.jobs import keys

if TYPE_CHECKING:
    from redis.asyncio import Redis

LUA = Path(__file__).parent / "lua"
_SHARED = (LUA / "common.lua", LUA / "order.lua")

Argument = str | bytes | int | float


class Script:
    """A script, preceded by the functions of ``common.lua`` and ``order.lua``. It runs as one atomic step, in one round
    trip.

    Args:
        path: Its file.
        functions: Files of functions that it uses besides, in the order in which they use each other.
    """

    def __init__(self, path: Path, *functions: Path) -> None:
        self.name = path.stem
        self.text = "\n".join(part.read_text() for part in (*_SHARED, *functions, path))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Redis, args: Sequence[Argument]) -> Any:
        """Run it on a server, which may not know it yet.

        Raises:
            redis.RedisError: The server cannot be reached, or refuses.
        """
        from redis.exceptions import NoScriptError

        try:
            return await client.evalsha(self.sha, 1, keys.PREFIX, *args)
        except NoScriptError:
            return await client.eval(self.text, 1, keys.PREFIX, *args)
