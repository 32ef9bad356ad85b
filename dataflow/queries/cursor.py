"""Cursors: where a page of a list ended, as text that only its own list takes back.

A cursor is base64url, without padding, of three parts::

    question   16 bytes   hash of model, sort, filter with its values, tenant, and whether deleted rows are seen
    keys                  MessagePack: the last row's values of the sort keys, as drivers take them
    signature  16 bytes   HMAC-SHA256 of the two, cut

The signature keeps anyone from asking for rows after a value of their
choice. It does not hide the values: whoever has a cursor can read the sort keys of the row that it stands for.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from dataflow.errors import InputError
from dataflow.queries.filters import Filter
from dataflow.queries.model import ModelRows
from dataflow.queries.sort import Sort

_HASH = 16
#: Part of the key, so that cursors of another format are refused like forged ones.
_FORMAT = b"dataflow cursor 1"
_PLAIN = frozenset({int, str, float, bool, bytes, type(None)})


class CursorSigner:
    """Writes and reads cursors.

    Args:
        secret: What the signatures are made with; the same in all processes that hand cursors to each other.
    """

    __slots__ = ("_mac",)

    def __init__(self, secret: bytes) -> None:
        self._mac = hmac.new(hmac.digest(secret, _FORMAT, "sha256"), digestmod="sha256")

    def write(self, question: bytes, keys: Sequence[Any]) -> str:
        """The cursor of the row with these sort keys, in the list that ``question`` stands for."""
        payload = question + _encode([key if type(key) in _PLAIN else _extended(key) for key in keys])
        return urlsafe_b64encode(payload + self._sign(payload)).rstrip(b"=").decode()

    def read(self, cursor: Any) -> tuple[bytes, list[Any]]:
        """The question and the keys of a cursor.

        Raises:
            InputError: It is not text, or this signer did not write it.
        """
        if not isinstance(cursor, str):
            raise InputError(
                f"A cursor is the text of next_cursor, got {type(cursor).__name__}.", hint=_HINT, parameter="cursor"
            )
        sealed = _decoded(cursor)
        payload, signature = sealed[:-_HASH], sealed[-_HASH:]
        if len(payload) < _HASH or not hmac.compare_digest(signature, self._sign(payload)):
            raise InputError("The cursor is none, or was changed on its way.", hint=_HINT, parameter="cursor")
        return payload[:_HASH], _decode(payload[_HASH:])

    def read_for(self, question: bytes, cursor: Any) -> list[Any]:
        """The keys of a cursor of the list that ``question`` stands for.

        Raises:
            InputError: It is none, or is the cursor of another list.
        """
        asked, keys = self.read(cursor)
        if asked != question:
            raise InputError(
                "The cursor belongs to another list: its model, filter, sort, tenant or include_deleted differ.",
                hint="Repeat them as they were on the page that gave it; limit and fields may change.",
                parameter="cursor",
            )
        return keys

    def _sign(self, payload: bytes) -> bytes:
        # A copy of one that has its key is twice as fast as a new one.
        mac = self._mac.copy()
        mac.update(payload)
        return mac.digest()[:_HASH]


def question_of(rows: ModelRows, where: Filter, sort: Sort, tenant: str | None) -> bytes:
    """What a list asks for, but for its page and its fields, as a hash."""
    asked = (rows.table_name, rows.spec.name, rows.include_deleted, tenant, sort, where.shape, where.values)
    return hashlib.blake2b(_encode(asked), digest_size=_HASH).digest()


def _decoded(cursor: str) -> bytes:
    try:
        sealed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (ValueError, binascii.Error):
        return b""
    # Base64 has several spellings of the same bytes; ours is the one that is taken.
    return sealed if urlsafe_b64encode(sealed).rstrip(b"=") == cursor.encode() else b""


#: Types beyond MessagePack's own, with their code, and their text and back. A datetime is a date, so it comes first.
_EXTENSIONS: tuple[tuple[type[Any], int, Callable[[Any], str], Callable[[str], Any]], ...] = (
    (datetime, 1, datetime.isoformat, datetime.fromisoformat),
    (date, 2, date.isoformat, date.fromisoformat),
    (time, 3, time.isoformat, time.fromisoformat),
    (Decimal, 4, str, Decimal),
    (UUID, 5, str, UUID),
)
_FROM_TEXT = {code: read for _, code, _, read in _EXTENSIONS}


def _extended(value: Any) -> msgspec.msgpack.Ext:
    for type_, code, write, _ in _EXTENSIONS:
        if isinstance(value, type_):
            return msgspec.msgpack.Ext(code, write(value).encode())
    raise TypeError(f"a cursor cannot hold {type(value).__name__}")


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any], ext_hook=lambda code, text: _FROM_TEXT[code](bytes(text).decode())).decode
_HINT = "Give next_cursor of the page before as it is; without a cursor a list begins at its first page."
