"""CodecRecord: a run whose outputs are kept in ledgers as the wire codec writes them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from dataflow.errors import InputError
from dataflow.nodes.ledger import RunRecord
from dataflow.workflows.codec import decode, encode

#: Bytes of an encoded output, at most: MariaDB takes no statement above 16 MiB by default, and escapes may double it.
MAX_OUTPUT = 8 * 1024 * 1024
#: Bytes from which an output is compressed.
_COMPRESS_FROM = 1_024
#: What compressed data begins with; an output that is not compressed never does.
_ZLIB = 0x78


class CodecRecord(RunRecord):
    """See RunRecord."""

    __slots__ = ()

    def pack(self, output: Mapping[str, Any], node_id: str) -> bytes:
        try:
            data = encode(output, max_size=MAX_OUTPUT)
        except InputError as error:
            raise InputError(
                f"The output of node '{node_id}' cannot be kept in the run ledger: {error.message}",
                hint="Let it return less, or enqueue the job with exactly_once=False.",
                **error.context,
            ) from error
        return zlib.compress(data, 1) if len(data) >= _COMPRESS_FROM else data

    def unpack(self, data: bytes) -> dict[str, Any]:
        output: dict[str, Any] = decode(zlib.decompress(data) if data[0] == _ZLIB else data)
        return output
