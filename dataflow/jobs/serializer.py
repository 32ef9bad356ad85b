"""How values are stored in RQ's fields: for us to decode, and for RQ's own tools to show.

RQ's tools read with pickle where nobody tells them otherwise, and fail on anything else: rq-dashboard answers with an
error page. So each value begins with a few bytes of pickle that say something fit to be shown, and end: pickle reads
no further than its STOP code. What counts follows, and is read by our codec only; nothing here ever unpickles.

::

    ┌────────────────────────────────────────────────────┬──────────────────┐
    │ pickle: a call, {} or text, of primitive types     │ codec.encode(…)  │
    └────────────────────────────────────────────────────┴──────────────────┘

The opcodes are those of https://github.com/python/cpython/blob/3.11/Lib/pickletools.py.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from dataflow.errors import PayloadError
from dataflow.workflows.codec import MAX_SIZE, decode, encode

#: The function that all our jobs name.
ENTRY = "dataflow.jobs.entry.run"
#: Characters of results that are shown to RQ's tools as they are.
SHOWN = 2_000

_STOP = b"."


def _text(text: str) -> bytes:
    """BINUNICODE: its length in bytes, then UTF-8."""
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


#: ``(ENTRY, None, (), {})``: MARK, text, NONE, EMPTY_TUPLE, EMPTY_DICT, TUPLE.
_CALL = b"(" + _text(ENTRY) + b"N)}t" + _STOP
_META = b"}" + _STOP


def write_call(value: Any) -> bytes:
    """A job's ``data``."""
    return _CALL + encode(value)


def write_meta(value: Mapping[str, Any]) -> bytes:
    """A job's ``meta``; RQ's tools see an empty dict."""
    return _META + encode(dict(value))


def write_results(value: Any, max_size: int) -> bytes:
    """A job's results; RQ's tools see them as JSON text, or how large they are.

    Raises:
        InputError: They hold a value of a type that cannot be stored, or are too large.
    """
    data = encode(value, max_size=max_size)
    shown = msgspec.json.encode(value).decode() if len(data) <= SHOWN else ""
    if not shown or len(shown) > SHOWN:
        shown = f"{len(data):,} bytes of results: read them with serializer=dataflow.jobs.serializer.RQSerializer"
    return _text(shown) + _STOP + data


def read(data: bytes) -> Any:
    """The value of any of these.

    Raises:
        PayloadError: It is none of them, is damaged, or has a version that is unknown here.
    """
    for start in (_CALL, _META):
        if data.startswith(start):
            return decode(data[len(start) :])
    if data[:1] == b"X" and len(data) > 5:
        end = 5 + struct.unpack("<I", data[1:5])[0]
        if data[end : end + 1] == _STOP:
            return decode(data[end + 1 :])
    raise PayloadError(
        "The data is not DataFlow's: it was written by another program, or is damaged.",
        hint="Only jobs that a DataFlow queue made can be read; use `rq worker` for others.",
    )


class RQSerializer:
    """DataFlow's codec with the methods that RQ asks of a serializer.

    It decodes data only, never code, so reading a job that somebody else wrote is safe.

    Example:
        >>> rq.job.Job.fetch(job_id, connection=redis, serializer=RQSerializer).return_value()
        >>> # on the command line: rq info; rq worker --serializer dataflow.jobs.serializer.RQSerializer
    """

    @staticmethod
    def dumps(value: Any) -> bytes:
        """A value as bytes: RQ gives calls as tuples, and ``meta`` as a dict."""
        if isinstance(value, tuple):
            return write_call(value)
        return write_meta(value) if isinstance(value, dict) else write_results(value, MAX_SIZE)

    @staticmethod
    def loads(data: bytes) -> Any:
        """The value of bytes.

        Raises:
            PayloadError: They are not DataFlow's.
        """
        return read(data)
