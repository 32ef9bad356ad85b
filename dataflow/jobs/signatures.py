"""Signatures: proof that a producer who knows a key enqueued a job as it is.

The field ``x_sig`` of a signed job is one line of text::

    1.2026-01.1795910400.3.9f86d081884c7d65.5d41402abc4b2a76…
    │ │       │          │ │                └ HMAC-SHA256 (hex) of what stands before it and of the job
    │ │       │          │ └ number used once: what a finished job is remembered by
    │ │       │          └ retries that the job was given
    │ │       └ Unix time at which the signature ends
    │ └ id of the key
    └ version of this format

The job, for this purpose, is its id, its queue's key, its payload before compression (workflow or its name, inputs,
tenant; RQ's tools compress payloads anew) and every field of ``SIGNED``. What else is in the hash either changes as the
job is worked on, or is only shown.

When a signed job finishes, is canceled or is replaced, its number is put into a set below ``rq:dataflow:spent:``, which
expires after the signature does. So a copy of the job, put back later, is recognized; retries, recovery and requeue of
a failed job are not hindered. ``common.lua`` keeps these sets.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dataflow.errors import ConfigurationError, SignatureError
from dataflow.jobs import keys

#: The field of a job's hash.
FIELD = "x_sig"
#: Fields that a producer fixes and that steer the run. One that appears, disappears or changes breaks the signature.
SIGNED = (
    "x_ordering_key", "timeout", "result_ttl", "failure_ttl", "retry_intervals", "enqueue_at_front_on_retry", "x_retry",
    "dependency_ids", "allow_dependency_failures",
    "success_callback_name", "failure_callback_name", "stopped_callback_name", "repeats_left", "repeat_intervals",
    "webhooks", "rate_limit_key",
)  # fmt: skip
#: Fields that steer the run and change while the job lives. ``retries_left`` may not exceed what the signature says;
#: ``x_deliveries`` counts the workers that died with the job, ``x_outages`` the times that a database went away;
#: ``x_token`` names the run in ledgers, and ``x_claimed`` is there once it was started.
CHANGING = ("retries_left", "x_deliveries", "x_outages", "x_token", "x_claimed")
#: Fields that a producer writes and that nothing obeys: they are shown, or place the job in its queue.
SHOWN = ("created_at", "origin", "description", "meta", "enqueue_at_front", "dependency_id", "x_schedule")

#: What a claim gives in place of the signature of a job that has finished before.
SPENT = b"spent"
#: Seconds that a signature holds from the moment the job is due, unless told otherwise: a week.
MAX_AGE = 7 * 86_400.0
#: Characters that a secret has at least.
SHORTEST_SECRET = 16

_VERSION = "1"
_DOMAIN = b"dataflow job signature"
_SEAL_DOMAIN = b"dataflow seal"
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_encode = msgspec.msgpack.Encoder().encode


class SigningKeys:
    """The keys of an application: one signs, all verify, so that a key can be replaced without a pause.

    Args:
        secrets_by_id: Key id (letters, digits, ``_`` and ``-``) → secret (16 characters or more). Never empty.
        signing_key_id: The one that signs; default the first.
        max_age: Seconds that a signature holds, counted from the moment the job is due.

    Raises:
        ConfigurationError: An id or a secret cannot be used.
    """

    __slots__ = ("_max_age", "_secrets", "signing_key_id")

    def __init__(
        self, secrets_by_id: Mapping[str, str], signing_key_id: str | None = None, max_age: float = MAX_AGE
    ) -> None:
        for key_id, secret in secrets_by_id.items():
            if not _KEY_ID.fullmatch(key_id):
                raise ConfigurationError(f"The id {key_id!r} of a signing key may have letters, digits, '_' and '-'.")
            if len(secret) < SHORTEST_SECRET:
                raise ConfigurationError(
                    f"The secret of signing key {key_id!r} has fewer than {SHORTEST_SECRET} characters.",
                    hint="python -c 'import secrets; print(secrets.token_hex(32))' makes a good one.",
                )
        if not secrets_by_id:
            raise ConfigurationError("There are no signing keys.", hint="signing_keys={'2026-01': secret}")
        self.signing_key_id = next(iter(secrets_by_id)) if signing_key_id is None else signing_key_id
        if self.signing_key_id not in secrets_by_id:
            raise ConfigurationError(
                f"signing_key_id is {self.signing_key_id!r}; signing_keys has {', '.join(secrets_by_id)}."
            )
        self._secrets = {key_id: secret.encode() for key_id, secret in secrets_by_id.items()}
        self._max_age = max_age

    def __repr__(self) -> str:
        return f"SigningKeys({', '.join(self._secrets)}; {self.signing_key_id} signs)"

    @classmethod
    def joined(cls, several: Sequence[SigningKeys]) -> SigningKeys | None:
        """The keys of several instances, to verify with; None where there are none.

        Raises:
            ConfigurationError: Two have different secrets under one id.
        """
        if not several:
            return None
        found: dict[str, bytes] = {}
        for item in several:
            for key_id, secret in item._secrets.items():
                if not hmac.compare_digest(found.setdefault(key_id, secret), secret):
                    raise ConfigurationError(f"Two instances have different secrets for the signing key {key_id!r}.")
        return cls({key_id: secret.decode() for key_id, secret in found.items()}, several[0].signing_key_id)

    def sign(self, job_id: str, queue: str, call: bytes, fields: Mapping[str, Any], due: float | None = None) -> str:
        """The signature of a job.

        Args:
            job_id: Its id.
            queue: Name of its queue.
            call: Its payload, not compressed.
            fields: Fields of its hash; those that are not signed may be among them.
            due: Unix time from which it may run, if that is not now.
        """
        ends = int((time.time() if due is None else due) + self._max_age)
        nonce = secrets.token_hex(8)
        head = f"{_VERSION}.{self.signing_key_id}.{ends}.{fields.get('retries_left', 0)}.{nonce}"
        values = [_as_stored(fields.get(name)) for name in SIGNED]
        return f"{head}.{_mac(self._secrets[self.signing_key_id], head, job_id, queue, call, values)}"

    def verify(self, signature: bytes, job_id: str, queue: str, call: bytes, fields: Mapping[str, bytes]) -> None:
        """Return where the signature is this job's.

        Args:
            signature: The field ``x_sig``.
            job_id: Its id.
            queue: Name of the queue that it was found in.
            call: Its payload, not compressed.
            fields: Fields of its hash, at least those of ``SIGNED`` and ``CHANGING`` that are not empty.

        Raises:
            SignatureError: It is damaged, of an unknown key, too old, another job's, or the job was changed.
        """
        if signature == SPENT:
            raise SignatureError(
                "The job has finished (or was canceled, or replaced) before, and was put back: a replay.",
                hint="Enqueue it anew to run it again.",
            )
        head, _, mac = signature.decode("ascii", "replace").rpartition(".")
        parts = head.split(".")
        if parts[0] != _VERSION or len(parts) != 5:
            raise SignatureError(
                f"The job's signature has version {parts[0][:20]!r}; this worker reads version {_VERSION}.",
                hint="Upgrade the worker, then requeue the job.",
            )
        _, key_id, ends, retries, _ = parts
        secret = self._secrets.get(key_id)
        if secret is None:
            raise SignatureError(
                f"The job is signed with the key {key_id[:64]!r}, which this worker does not have.",
                hint=f"It has {', '.join(self._secrets)}. Add the key to signing_keys, then requeue the job.",
            )
        values = [fields.get(name) for name in SIGNED]
        if not hmac.compare_digest(_mac(secret, head, job_id, queue, call, values).encode(), mac.encode()):
            raise SignatureError(
                "The job's signature does not match: it was changed after it was enqueued, moved to another queue or "
                f"id, or signed with another secret under the id {key_id!r}."
            )
        # From here on the head is what a producer wrote.
        if time.time() > int(ends):
            raise SignatureError(
                "The job's signature has expired.",
                hint="Enqueue it anew, or set signature_max_age to longer than jobs wait, retry and are requeued.",
            )
        if int(fields.get("retries_left", 0)) > int(retries):
            raise SignatureError(f"The job was given {retries} retries, and has more left now.")

    def seal(self, what: str, content: bytes) -> str:
        """The proof that a holder of the keys wrote something that is no job: ``KEY-ID.HMAC``.

        Args:
            what: What it is, so that it cannot be shown as something else.
            content: It.
        """
        return f"{self.signing_key_id}.{_seal(self._secrets[self.signing_key_id], what, content)}"

    def check_seal(self, seal: bytes, what: str, content: bytes) -> None:
        """Return where ``seal`` is what ``seal()`` gave for this.

        Raises:
            SignatureError: It is missing, of an unknown key, or of something else.
        """
        key_id, _, mac = seal.decode("ascii", "replace").partition(".")
        if not seal:
            raise SignatureError("It is not signed.")
        secret = self._secrets.get(key_id)
        if secret is None:
            raise SignatureError(f"It is signed with the key {key_id[:64]!r}, which is not among the signing keys.")
        if not hmac.compare_digest(_seal(secret, what, content).encode(), mac.encode()):
            raise SignatureError("Its signature does not match: somebody without the signing keys has changed it.")


def _as_stored(value: Any) -> bytes | None:
    """A value as Redis gives it back; None where there is none."""
    if value is None or value == "" or value == b"":
        return None
    return value if isinstance(value, bytes) else str(value).encode()


def _mac(secret: bytes, head: str, job_id: str, queue: str, call: bytes, values: list[bytes | None]) -> str:
    # MessagePack marks where each part begins and ends, so nothing can be shifted from one into the next.
    message = _encode((_DOMAIN, head, keys.queue(queue), job_id, values, call))
    return hmac.digest(secret, message, "sha256").hex()


def _seal(secret: bytes, what: str, content: bytes) -> str:
    return hmac.digest(secret, _encode((_SEAL_DOMAIN, what, content)), "sha256").hex()
