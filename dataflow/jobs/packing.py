"""Packing: an encoded payload to the ``data`` field of a job and back, within limits.

Large payloads are compressed, as RQ's own are, where that halves them: inflating 100 KB takes a worker as long as some
ten small jobs. What arrives is measured before it is decompressed, and decompressing stops at a limit whatever the data
would become, so a small job cannot fill a worker's memory.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from dataflow.errors import InputError, PayloadError
from dataflow.workflows.codec import MAX_SIZE

#: Bytes from which a payload is compressed. RQ reads both forms.
COMPRESS_FROM = 1_024
#: Bytes by whose compression a large payload is judged.
_SAMPLE = 4_096


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """Bytes that a payload may have.

    Attributes:
        stored: In Redis, compressed or not.
        unpacked: Decompressed.
    """

    stored: int = MAX_SIZE
    unpacked: int = MAX_SIZE


DEFAULT_LIMITS = PayloadLimits()


def pack(call: bytes, limits: PayloadLimits = DEFAULT_LIMITS) -> bytes:
    """An encoded payload as the ``data`` field of a job.

    Raises:
        InputError: It is too large.
    """
    if len(call) > limits.unpacked:
        raise _too_large(f"The job's payload has {len(call):,} bytes", limits.unpacked, "max_payload_unpacked")
    data = _smaller(call) if len(call) >= COMPRESS_FROM else call
    if len(data) > limits.stored:
        raise _too_large(f"The job's payload takes {len(data):,} bytes in Redis", limits.stored, "max_payload_stored")
    return data


def _smaller(call: bytes) -> bytes:
    """Compressed, where that halves it."""
    if len(call) > 4 * _SAMPLE and len(zlib.compress(call[:_SAMPLE], 1)) > _SAMPLE // 2:
        return call
    data = zlib.compress(call, 1)
    return data if len(data) <= len(call) // 2 else call


def unpack(data: bytes, limits: PayloadLimits = DEFAULT_LIMITS) -> bytes:
    """The encoded payload of a ``data`` field.

    Raises:
        PayloadError: It is too large, or damaged.
    """
    if len(data) > limits.stored:
        raise PayloadError(
            f"The job's data has {len(data):,} bytes, and {limits.stored:,} is the limit.",
            hint="The setting is max_payload_stored.",
        )
    # 0x78 is what zlib starts with; an uncompressed payload never does.
    call = inflate(data, limits.unpacked) if data[:1] == b"\x78" else data
    if len(call) > limits.unpacked:
        raise PayloadError(
            f"The job's data has more than {limits.unpacked:,} bytes when decompressed.",
            hint="The setting is max_payload_unpacked.",
        )
    return call


def inflate(data: bytes, limit: int) -> bytes:
    """The beginning of what zlib compressed: all of it, or one byte more than ``limit``.

    Raises:
        PayloadError: It is damaged, or not zlib's.
    """
    try:
        return zlib.decompressobj().decompress(data, limit + 1)
    except zlib.error as error:
        raise PayloadError(f"The job's data cannot be decompressed: {error}.") from error


def _too_large(problem: str, limit: int, setting: str) -> InputError:
    return InputError(
        f"{problem}, and {limit:,} is the limit.",
        hint=f"Split it into several jobs, or store it and send where it is; the setting is {setting}.",
    )
