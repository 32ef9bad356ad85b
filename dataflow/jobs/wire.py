"""What a job carries: one call of our entry point, whose keyword arguments say what to run.

RQ's ``data`` field holds ``(function name, None, (), keyword arguments)``, serialized and, where it is large,
compressed. The function name is always the same and is only ever compared, never imported.

    {"v": 1, "workflow": encoded document, "inputs": {…}}     a workflow that travels with the job
    {"v": 1, "name": "order_fulfillment", "inputs": {…}}      one that the worker's application registered
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from dataflow.errors import PayloadError
from dataflow.jobs.serializer import ENTRY, read, write_call
from dataflow.workflows import Workflow
from dataflow.workflows.codec import MAX_SIZE, encode
from dataflow.workflows.document import workflow_to_document

#: Version of the payload.
VERSION = 1
#: Bytes from which a payload is compressed. RQ reads both forms.
COMPRESS_FROM = 1_024

_documents: WeakKeyDictionary[Workflow, bytes] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Payload:
    """What a job runs: a workflow of its own, or one known by name.

    Attributes:
        document: The encoded workflow document, or None.
        name: Name of a registered workflow, or None.
        inputs: Inputs of the run.
    """

    document: bytes | None = None
    name: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)


def payload_of(workflow: Workflow | str, inputs: Mapping[str, Any]) -> Payload:
    """The payload that runs a workflow. A workflow is encoded once, however often it is enqueued."""
    if isinstance(workflow, str):
        return Payload(name=workflow, inputs=inputs)
    document = _documents.get(workflow)
    if document is None:
        document = _documents[workflow] = encode(workflow_to_document(workflow))
    return Payload(document=document, inputs=inputs)


def write_payload(payload: Payload) -> bytes:
    """The ``data`` field of a job.

    Raises:
        InputError: An input is of a type that cannot travel, or the payload is too large.
    """
    what: dict[str, Any] = {"v": VERSION}
    if payload.document is not None:
        what["workflow"] = payload.document
    else:
        what["name"] = payload.name
    what["inputs"] = payload.inputs
    data = write_call((ENTRY, None, (), what))
    return zlib.compress(data, 1) if len(data) >= COMPRESS_FROM else data


def read_payload(data: bytes) -> Payload:
    """What the ``data`` field of a job says.

    Raises:
        PayloadError: It is not one of our payloads, is damaged or too large, or has a version that is unknown here.
    """
    call = read(_decompress(data))
    if not isinstance(call, list | tuple) or len(call) != 4:
        raise PayloadError("The job's data is not a function call as RQ writes it.")
    function, instance, args, what = call
    if function != ENTRY or instance is not None or args:
        raise PayloadError(
            f"The job calls {function!r}.",
            hint="A DataFlow worker runs workflows only and imports nothing that a job names; use `rq worker` for it.",
        )
    if not isinstance(what, dict) or what.get("v") != VERSION:
        version = what.get("v") if isinstance(what, dict) else None
        raise PayloadError(
            f"The job's payload has version {version!r}; this worker reads version {VERSION}.",
            hint="Upgrade the worker, then requeue the job.",
        )
    document, name, inputs = what.get("workflow"), what.get("name"), what.get("inputs")
    if isinstance(document, bytes) == isinstance(name, str) or not isinstance(inputs, dict):
        raise PayloadError("The job's payload needs a workflow or the name of one, and inputs.")
    return Payload(document, name, inputs)


def _decompress(data: bytes) -> bytes:
    if data[:1] != b"\x78":  # what zlib starts with; an uncompressed payload never does
        return data
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, MAX_SIZE)
    except zlib.error as error:
        raise PayloadError(f"The job's data cannot be decompressed: {error}.") from error
    if stream.unconsumed_tail:
        raise PayloadError(f"The job's data has more than {MAX_SIZE:,} bytes when decompressed.")
    return plain
