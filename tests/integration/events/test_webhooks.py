"""Deliveries of webhooks to real servers, good and bad."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dataflow.errors import InputError, WebhookAddressError, WebhookError, WebhookGoneError
from dataflow.events.webhooks import posting
from dataflow.events.webhooks.webhooks import MAX_BODY, Webhooks
from tests.integration.events.receivers import SECRET, Receiver, receiving
from tests.redis_tls import Authority
from tests.servers import BinaryNotFoundError, find_binary

BODY = b'{"type":"test","data":{}}'


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


def webhooks(*allow: str, seconds: float = 5.0, **names: str) -> Webhooks:
    """Webhooks for which names (``_`` for a dot) have these addresses, parted by spaces: one for each question."""

    async def resolve(host: str, _port: int) -> list[str]:
        found = names.get(host.replace(".", "_"), host).split()
        if len(found) > 1:
            names[host.replace(".", "_")] = " ".join(found[1:])
        return found[:1]

    return Webhooks({"*": SECRET}, allow, resolve=resolve, seconds=seconds)


async def test_a_webhook_is_posted_and_signed(receiver: Receiver) -> None:
    assert await webhooks("127.0.0.1").deliver(receiver.url, "shop:orders:1-0", BODY) == 200
    assert receiver.verified() == {"type": "test", "data": {}}
    line, headers, _ = receiver.requests[0]
    assert line == "POST /hooks?a=1 HTTP/1.1"
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "shop:orders:1-0"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


async def test_without_the_setting_nothing_of_ours_is_connected_to(receiver: Receiver) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
        with pytest.raises(WebhookAddressError):
            await Webhooks({"*": SECRET}).deliver(f"https://{host}:{receiver.port}/", "1", BODY)
    with pytest.raises(WebhookAddressError):
        await webhooks(hooks_example="127.0.0.1").deliver(f"https://hooks.example:{receiver.port}/", "1", BODY)
    assert receiver.connections == 0


async def test_the_address_that_was_checked_is_connected_to(receiver: Receiver) -> None:
    """A name may be at a good address when it is checked, and at another when it is asked again: it is not."""
    rebinding = webhooks("127.0.0.1", hooks_example="127.0.0.1 169.254.169.254")
    await rebinding.deliver(f"http://hooks.example:{receiver.port}/", "1", BODY)
    assert receiver.requests[0][1]["host"] == f"hooks.example:{receiver.port}"
    with pytest.raises(WebhookAddressError, match=r"169\.254\.169\.254"):
        await rebinding.deliver(f"http://hooks.example:{receiver.port}/", "1", BODY)
    assert receiver.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    async with receiving() as inside:
        reply = f"HTTP/1.1 {status} Found\r\nLocation: {inside.url}\r\nContent-Length: 0\r\n\r\n"
        receiver.answers = [reply.encode()]
        with pytest.raises(WebhookError, match=f"{status}. Redirects are not followed"):
            await webhooks("127.0.0.1").deliver(receiver.url, "1", BODY)
        assert inside.connections == 0


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_what_was_taken(receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    assert await webhooks("127.0.0.1").deliver(receiver.url, "1", BODY) == status


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 502, 503, 600])
async def test_what_was_not_taken(receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    with pytest.raises(WebhookError) as raised:
        await webhooks("127.0.0.1").deliver(receiver.url, "1", BODY)
    assert raised.value.context["status"] == status
    assert "hooks?" not in str(raised.value)


async def test_gone(receiver: Receiver) -> None:
    receiver.answers = [410]
    with pytest.raises(WebhookGoneError):
        await webhooks("127.0.0.1").deliver(receiver.url, "1", BODY)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        b"x" * 10_000_000,
    ],
)
async def test_what_is_no_reply(receiver: Receiver, reply: bytes) -> None:
    receiver.answers = [reply]
    with pytest.raises(WebhookError, match="gave no answer"):
        await webhooks("127.0.0.1").deliver(receiver.url, "1", BODY)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntoo short",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900000000000\r\n\r\n" + b"x" * 1_000_000,
    ],
)
async def test_bodies_of_replies_do_not_matter(receiver: Receiver, reply: bytes) -> None:
    receiver.answers = [reply]
    assert await webhooks("127.0.0.1").deliver(receiver.url, "1", BODY) == 200


async def test_an_endless_reply_is_not_read(receiver: Receiver) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    receiver.answers = [endless]
    assert await webhooks("127.0.0.1").deliver(receiver.url, "1", BODY) == 200
    assert sent < 50_000_000


async def test_slow_servers_are_not_waited_for(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "REPLY_SECONDS", 0.1)

    async def silent(_writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def dripping(writer: asyncio.StreamWriter) -> None:
        for letter in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000:
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async def slow_body(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await asyncio.Event().wait()

    for answer in (silent, dripping):
        receiver.answers = [answer]
        with pytest.raises(WebhookError, match=r"within 0\.4 s"):
            await webhooks("127.0.0.1", seconds=0.4).deliver(receiver.url, "1", BODY)
    receiver.answers = [slow_body]
    assert await webhooks("127.0.0.1", seconds=5.0).deliver(receiver.url, "1", BODY) == 200


async def test_slow_names_are_not_waited_for() -> None:
    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    slow = Webhooks({"*": SECRET}, resolve=never, seconds=0.1)
    with pytest.raises(WebhookError, match=r"within 0\.1 s"):
        await slow.deliver("https://hooks.example/", "1", BODY)


async def test_what_nobody_listens_to() -> None:
    async with receiving() as closed:
        url = closed.url
    with pytest.raises(WebhookError, match="gave no answer"):
        await webhooks("127.0.0.1").deliver(url, "1", BODY)


async def test_what_is_too_large_is_not_sent(receiver: Receiver) -> None:
    await webhooks("127.0.0.1").deliver(receiver.url, "1", b"x" * MAX_BODY)
    with pytest.raises(InputError, match="at most"):
        await webhooks("127.0.0.1").deliver(receiver.url, "1", b"x" * (MAX_BODY + 1))
    assert [len(body) for _, _, body in receiver.requests] == [MAX_BODY]


async def test_certificates_are_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        openssl = find_binary("openssl")
    except BinaryNotFoundError as error:
        pytest.skip(str(error))

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, capture_output=True)

    authority = Authority(openssl, tmp_path, run, "authority")
    certificate, key = authority.issue("hooks.example", "DNS:hooks.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    async with receiving(server) as receiver:
        sender = webhooks("127.0.0.1", hooks_example="127.0.0.1", other_example="127.0.0.1")
        url = f"https://hooks.example:{receiver.port}/"
        posting._tls.cache_clear()
        with pytest.raises(WebhookError, match="CERTIFICATE_VERIFY_FAILED"):
            await sender.deliver(url, "1", BODY)
        monkeypatch.setenv("SSL_CERT_FILE", authority.certificate)
        posting._tls.cache_clear()
        try:
            assert await sender.deliver(url, "1", BODY) == 200
            with pytest.raises(WebhookError, match="CERTIFICATE_VERIFY_FAILED"):
                await sender.deliver(f"https://other.example:{receiver.port}/", "1", BODY)
        finally:
            posting._tls.cache_clear()
        assert len(receiver.requests) == 1
