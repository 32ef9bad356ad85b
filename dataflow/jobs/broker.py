"""Broker: connections to Redis or Valkey, one client per event loop.

redis-py is imported when a connection is first wanted: it takes longer than the rest of the room together, and who
imports the library may never enqueue anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from dataflow.errors import BrokerUnavailableError, ConfigurationError
from dataflow.jobs.embedded import embedded_url
from dataflow.jobs.masking import mask_url
from dataflow.jobs.scripts import Argument, Script

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Seconds to wait for a connection.
CONNECT_TIMEOUT = 5.0
#: Seconds to wait for a reply.
REPLY_TIMEOUT = 10.0
#: Times that a producer's call is sent again when the connection breaks. Every script is safe to send twice.
PRODUCER_RETRIES = 3

#: Opens a client for a URL: ``(url, times to send again)``.
Connect = Callable[[str, int], "Redis"]


def connect_redis(url: str, retries: int) -> Redis:
    """A client of a real server; it connects when first used.

    It has no reply timeout of its own: redis-py's runs each write through ``asyncio.wait_for``, which costs a task and
    may swallow a cancellation on Python 3.11. Who calls it sets the time.
    """
    from redis.asyncio.retry import Retry
    from redis.backoff import ExponentialWithJitterBackoff, NoBackoff

    from dataflow.jobs.connections import client_of

    backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.5) if retries else NoBackoff()
    return client_of(
        url,
        protocol=2,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=None,
        socket_keepalive=True,
        retry=Retry(backoff, retries),
    )


class Broker:
    """Where queues live.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``; None starts an embedded Valkey when first used.
        connect: Opens clients; for tests that have no server.

    Raises:
        ConfigurationError: The URL has another scheme.
    """

    def __init__(self, url: str | None = None, *, connect: Connect = connect_redis) -> None:
        if url is not None and urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ConfigurationError(
                f"The broker's URL is {mask_url(url)!r}.",
                hint="It starts with redis://, rediss:// (TLS) or unix://.",
            )
        self._url = url
        self._connect = connect
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Redis] = WeakKeyDictionary()

    @property
    def masked_url(self) -> str:
        """The URL without its password, for messages."""
        return mask_url(self._url) if self._url else "an embedded Valkey"

    async def url(self) -> str:
        """The URL; the embedded server is started where there is none."""
        if self._url is None:
            self._url = await embedded_url()
        return self._url

    async def client(self) -> Redis:
        """The running event loop's client."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._connect(await self.url(), PRODUCER_RETRIES)
        return client

    async def open(self) -> Redis:
        """A client of the caller's own, which never sends anything twice and waits for ever; the caller closes it."""
        return self._connect(await self.url(), 0)

    async def run(self, script: Script, args: Sequence[Argument]) -> Any:
        """Run a script.

        Raises:
            BrokerUnavailableError: The server cannot be reached, or refuses.
        """
        client = await self.client()
        async with self.errors():
            return await script.run(client, args)

    @asynccontextmanager
    async def errors(self) -> AsyncIterator[None]:
        """Limits the time for a reply, and turns errors of the client into ours.

        Raises:
            BrokerUnavailableError: The server cannot be reached, or refuses.
        """
        from redis.exceptions import RedisError

        scope = asyncio.timeout(REPLY_TIMEOUT)
        try:
            async with scope:
                yield
        except RedisError as error:
            raise unavailable(self.masked_url, error) from error
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise unavailable(self.masked_url, f"no reply within {REPLY_TIMEOUT:g} s") from error

    async def close(self) -> None:
        """Close the clients of every event loop. The broker opens again when it is used again."""
        clients = list(self._clients.items())
        self._clients.clear()
        here = asyncio.get_running_loop()
        for loop, client in clients:
            if loop is here:
                await client.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(client.aclose(), loop))


def is_denied(error: Exception) -> bool:
    """Whether the server refused because the user's ACL does not allow it."""
    return any(sign in str(error) for sign in _DENIALS)


def unavailable(masked_url: str, problem: Exception | str) -> BrokerUnavailableError:
    """The error of a broker that cannot be used, with what to check."""
    text = str(problem).rstrip(".") or type(problem).__name__
    hint = next((hint for sign, hint in _HINTS if sign in text), _HINT)
    return BrokerUnavailableError(f"The broker at {masked_url} cannot be used: {text}.", hint=hint, url=masked_url)


_HINT = "Check that the server runs and has memory left, and that REDIS_URL names its host, port and password."
_HANGS_UP = (
    f"{_HINT} A port that speaks TLS needs rediss://, and may ask for a certificate of ours: redis_ssl_cert and "
    "redis_ssl_key (ssl_certfile and ssl_keyfile in the URL)."
)
_DENIALS = ("no permissions", "The user executing the script")
_DENIED = "The ACL of the user must allow what docs/security.md lists for producers and workers."
#: What a message of the driver or the server contains → what to do about it.
_HINTS = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "The server's certificate is not for that host, has expired, or is not signed by the authority in redis_ssl_ca "
        "(ssl_ca_certs in the URL).",
    ),
    ("CERTIFICATE_REQUIRED", _HANGS_UP),
    ("Connection reset", _HANGS_UP),
    ("Connection closed", _HANGS_UP),
    ("Connection lost", _HANGS_UP),
    ("Broken pipe", _HANGS_UP),
    ("no reply within", f"{_HINT} With rediss:// it must speak TLS at that port."),
    ("No such file", "redis_ssl_ca, redis_ssl_cert or redis_ssl_key names a file that is not there."),
    *((sign, _DENIED) for sign in _DENIALS),
)
