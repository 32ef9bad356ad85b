"""Letting go of connections whose event loop is closed."""

from __future__ import annotations

import asyncio
from typing import Any


def close_orphan(transport: Any) -> None:
    """Close the socket of a transport whose event loop can no longer do it.

    asyncio closes a socket in a callback of the loop, which a closed loop never runs, and has no other way.
    """
    loop = getattr(transport, "_loop", None)
    sock = getattr(transport, "_sock", None)
    if isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed() and sock is not None:
        transport._sock = None
        sock.close()
