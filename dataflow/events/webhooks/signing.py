"""Signatures of webhooks, and the secrets that they are made with: https://www.standardwebhooks.com, version 1.

A receiver that knows a secret can sign as we do, so hosts that do not trust each other have secrets of their own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from dataflow.errors import ConfigurationError

#: What every secret begins with.
PREFIX = "whsec_"
#: Stands for all hosts that have no secrets of their own.
OTHERS = "*"
#: Bytes of a secret.
_LEAST, _MOST = 24, 64


class Secrets:
    """What webhooks are signed with.

    Args:
        given: Host, or ``*`` for all others → its secrets ``whsec_…``, parted by spaces: all of them sign, so that a
            receiver may go over from one to the next.

    Raises:
        ConfigurationError: One is no secret.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._by_host = {host.lower(): tuple(map(_secret, text.split())) for host, text in given.items()}

    def of(self, host: str) -> Sequence[bytes]:
        """Those of a host.

        Raises:
            ConfigurationError: It has none.
        """
        found = self._by_host.get(host) or self._by_host.get(OTHERS)
        if not found:
            raise ConfigurationError(
                f"There is no secret to sign webhooks for {host} with.",
                hint="Set webhook_secrets, such as DATAFLOW_WEBHOOK_SECRETS='{\""
                + host
                + '": "whsec_…"}\': whsec_ and '
                "24 to 64 random bytes in base64 (openssl rand -base64 32).",
            )
        return found


def signature(secrets: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``."""
    content = f"{webhook_id}.{timestamp}.".encode() + body
    made = (hmac.new(secret, content, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in made)


def _secret(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not text.startswith(PREFIX) or not _LEAST <= len(secret) <= _MOST:
        # What it is instead may be a secret all the same.
        raise ConfigurationError(
            "A webhook secret is whsec_ and 24 to 64 bytes in base64.",
            hint="Make one: echo whsec_$(openssl rand -base64 32)",
        )
    return secret
