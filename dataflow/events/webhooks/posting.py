"""One POST, by HTTP/1.1 on a connection of its own, to an address that was checked; and of the reply, its status.

No redirect is followed, no proxy asked and nothing of the reply told, so that nobody reads through us what only we can
reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping, Sequence
from functools import lru_cache

from dataflow.errors import WebhookError
from dataflow.events.webhooks.addresses import Target

#: Bytes of a reply's head that are read, and of its body: a server that is done should see that we are.
MAX_HEAD, MAX_REPLY = 16_384, 65_536
#: Seconds that its body may take.
REPLY_SECONDS = 1.0
#: Seconds that connecting to one of several addresses may take.
CONNECT_SECONDS = 5.0

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)


async def post(target: Target, addresses: Sequence[str], headers: Mapping[str, str], body: bytes) -> int:
    """The status of the reply.

    Args:
        target: Where to.
        addresses: Its addresses; the first that answers is taken.
        headers: Beside those that HTTP needs.
        body: What to post.

    Raises:
        WebhookError: There was no reply.
    """
    lines = [f"POST {target.path} HTTP/1.1", f"Host: {target.authority}", f"Content-Length: {len(body)}"]
    lines += ["Connection: close", *(f"{name}: {value}" for name, value in headers.items()), "\r\n"]
    try:
        reader, writer = await _connect(target, addresses)
        try:
            writer.write("\r\n".join(lines).encode("ascii") + body)
            await writer.drain()
            return await _status(reader)
        finally:
            writer.transport.abort()
    except (OSError, EOFError, asyncio.LimitOverrunError) as error:
        raise WebhookError(f"{target} gave no answer: {error or type(error).__name__}.") from error


async def _connect(target: Target, addresses: Sequence[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    tls = _tls() if target.scheme == "https" else None
    name = target.host if tls is not None else None
    problem: OSError = OSError("it has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(
                    address, target.port, ssl=tls, server_hostname=name, limit=MAX_HEAD
                )
        except OSError as error:  # a TimeoutError too
            problem = error
    raise problem


async def _status(reader: asyncio.StreamReader) -> int:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        found = _STATUS.match(head)
        if found is None:
            raise OSError("what came is no HTTP/1.1")
        status = int(found[1])
        if status >= 200:
            break
    length = _LENGTH.search(head)
    if length is not None:
        # Whatever becomes of the body, the status has been said.
        with contextlib.suppress(OSError, EOFError):
            async with asyncio.timeout(REPLY_SECONDS):
                await reader.readexactly(min(int(length[1]), MAX_REPLY))
    return status


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
