"""Webhooks: sends events of one instance, each signed, to servers that may be sent to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from dataflow.errors import InputError, WebhookError, WebhookGoneError
from dataflow.events.webhooks.addresses import AddressGuard, Resolve, Target, read_url
from dataflow.events.webhooks.posting import post
from dataflow.events.webhooks.signing import Secrets, signature

#: Seconds that a delivery may take, from the question for the name's address to the reply.
SECONDS = 15.0
#: Bytes that are posted, at most.
MAX_BODY = 4 << 20


class Webhooks:
    """Sends webhooks.

    Args:
        secrets: Host, or ``*`` → what they are signed with, see Secrets.
        allow: Hosts and networks of ours that they may be sent to, see AddressGuard.
        resolve: Asks for the addresses of a name; default the system.
        seconds: That a delivery may take.

    Raises:
        ConfigurationError: A secret, or one of ``allow``, is wrong.
    """

    def __init__(
        self,
        secrets: Mapping[str, str],
        allow: Sequence[str] = (),
        *,
        resolve: Resolve | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._secrets = Secrets(secrets)
        self._guard = AddressGuard(allow, resolve)
        self._seconds = seconds

    def check(self, url: object) -> Target:
        """Whether a URL may be one of a webhook, as far as that is known without asking for its address.

        Raises:
            WebhookAddressError: It may not.
            ConfigurationError: There is no secret for it.
        """
        target = read_url(url)
        self._secrets.of(target.host)
        return target

    async def deliver(self, url: str, webhook_id: str, body: bytes) -> int:
        """Post JSON; returns the status, 200 to 299.

        Args:
            url: Where to.
            webhook_id: The same however often it is delivered; ASCII without ``.``.
            body: The JSON.

        Raises:
            WebhookAddressError: It may not be sent there.
            ConfigurationError: There is no secret for it.
            InputError: The body is too large.
            WebhookGoneError: The server wants no more of it.
            WebhookError: It was not taken. Another try may succeed.
        """
        target = self.check(url)
        if len(body) > MAX_BODY:
            raise InputError(f"A webhook has {MAX_BODY:,} bytes at most, this one has {len(body):,}.")
        now = int(time.time())
        headers = {
            "User-Agent": "DataFlow-Webhooks/1",
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._secrets.of(target.host), webhook_id, now, body),
        }
        try:
            async with asyncio.timeout(self._seconds):
                status = await post(target, await self._guard.addresses(target), headers, body)
        except TimeoutError:
            raise WebhookError(f"{target} did not answer within {self._seconds:g} s.") from None
        if status == 410:
            raise WebhookGoneError(f"{target} is gone: it wants no more webhooks.", status=status)
        if not 200 <= status <= 299:
            more = " Redirects are not followed." if 300 <= status <= 399 else ""
            raise WebhookError(f"{target} answered {status}.{more}", status=status)
        return status
