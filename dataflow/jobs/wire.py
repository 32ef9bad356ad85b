"""What a job carries: one call of our entry point, whose keyword arguments say what to run.

RQ's ``data`` field holds ``(function name, None, (), keyword arguments)``, serialized and, where it is large,
compressed. The function name is always the same and is only ever compared, never imported.

    {"v": 1, "workflow": encoded document, "inputs": {…}}     a workflow that travels with the job
    {"v": 1, "name": "order_fulfillment", "inputs": {…}}      one that the worker's application registered

Either may also have ``"tenant_id": "…"``, and ``"exactly_once": false`` where effects may happen twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from dataflow.errors import PayloadError, TypeMismatchError
from dataflow.jobs.packing import unpack
from dataflow.jobs.serializer import ENTRY, read, write_call
from dataflow.tenants import checked_tenant
from dataflow.workflows import Workflow
from dataflow.workflows.codec import encode
from dataflow.workflows.document import workflow_to_document

#: Version of the payload that is written.
VERSION = 1
#: Versions that are read: a release that writes a new one goes on reading the one before.
READABLE = frozenset({1})

_documents: WeakKeyDictionary[Workflow, bytes] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Payload:
    """What a job runs: a workflow of its own, or one known by name.

    Attributes:
        document: The encoded workflow document, or None.
        name: Name of a registered workflow, or None.
        inputs: Inputs of the run.
        tenant_id: Whose rows the run is about, or None.
        exactly_once: Its effects happen once, unless the workflow says otherwise.
    """

    document: bytes | None = None
    name: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    tenant_id: str | None = None
    exactly_once: bool = True


def payload_of(
    workflow: Workflow | str,
    inputs: Mapping[str, Any],
    tenant_id: str | None = None,
    *,
    exactly_once: bool = True,
) -> Payload:
    """The payload that runs a workflow. A workflow is encoded once, however often it is enqueued."""
    if isinstance(workflow, str):
        return Payload(name=workflow, inputs=inputs, tenant_id=tenant_id, exactly_once=exactly_once)
    document = _documents.get(workflow)
    if document is None:
        document = _documents[workflow] = encode(workflow_to_document(workflow))
    return Payload(document=document, inputs=inputs, tenant_id=tenant_id, exactly_once=exactly_once)


def encode_payload(payload: Payload) -> bytes:
    """A payload as bytes, not yet compressed.

    Raises:
        InputError: An input is of a type that cannot travel, or the payload is too large.
    """
    what: dict[str, Any] = {"v": VERSION}
    if payload.document is not None:
        what["workflow"] = payload.document
    else:
        what["name"] = payload.name
    what["inputs"] = payload.inputs
    if payload.tenant_id is not None:
        what["tenant_id"] = payload.tenant_id
    if not payload.exactly_once:
        what["exactly_once"] = False
    return write_call((ENTRY, None, (), what))


def read_payload(data: bytes) -> Payload:
    """What the ``data`` field of a job says.

    Raises:
        PayloadError: It is not one of our payloads, is damaged or too large, or has a version that is unknown here.
    """
    return decode_payload(unpack(data))


def decode_payload(data: bytes) -> Payload:
    """What bytes of ``encode_payload`` say; errors as of ``read_payload``."""
    call = read(data)
    if not isinstance(call, list | tuple) or len(call) != 4:
        raise PayloadError("The job's data is not a function call as RQ writes it.")
    function, instance, args, what = call
    if function != ENTRY or instance is not None or args:
        raise PayloadError(
            f"The job calls {function!r}.",
            hint="A DataFlow worker runs workflows only and imports nothing that a job names; use `rq worker` for it.",
        )
    version = what.get("v") if isinstance(what, dict) else None
    if type(version) is not int or version not in READABLE:
        raise PayloadError(
            f"The job's payload has version {version!r}; this worker reads version {', '.join(map(str, READABLE))}.",
            hint="It is kept with the failed jobs: requeue it when workers of the producer's release serve the queue.",
        )
    document, name, inputs = what.get("workflow"), what.get("name"), what.get("inputs")
    if isinstance(document, bytes) == isinstance(name, str) or not isinstance(inputs, dict):
        raise PayloadError("The job's payload needs a workflow or the name of one, and inputs.")
    return Payload(document, name, inputs, _tenant(what.get("tenant_id")), what.get("exactly_once", True) is not False)


def _tenant(given: Any) -> str | None:
    try:
        return None if given is None else checked_tenant(given)
    except TypeMismatchError as error:
        raise PayloadError(f"The job's payload names no usable tenant: {error.message}") from error
