"""Trigger: a declaration of which events start which workflow, and how."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from dataflow.errors import InputError, PayloadError, TriggerError, did_you_mean
from dataflow.events.triggers.paths import check_key, check_paths
from dataflow.jobs.requests import EnqueueRequest
from dataflow.jobs.wire import Payload
from dataflow.nodes.registry import NodeCatalog
from dataflow.workflows import Workflow, workflow_from_document, workflow_to_document
from dataflow.workflows.codec import decode, encode

#: Version of the document that is written, and the only one read.
VERSION = 1
#: Options of the jobs.
OPTIONS = (
    "queue", "timeout", "retry", "tenant_id", "at_front", "result_ttl", "failure_ttl", "meta", "exactly_once",
)  # fmt: skip
#: Bytes that a declaration may take.
MAX_SIZE = 1024 * 1024

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Which events start which workflow, and how.

    Attributes:
        name: Letters, digits, ``_`` and ``-``, 1 to 100; unique within an instance.
        workflow: Name of a registered workflow or actor, or a workflow of its own.
        subjects: Names of models or tables, types of messages (``"@order_created"``).
        operations: As of :class:`~dataflow.events.selection.Selection`, as are ``filter``, ``transition`` and
            ``changed``.
        inputs: Input of the workflow (or argument of the actor) → path into the event (``"after.id"``), or a dict of
            them; None for one input ``event``, the whole.
        ordering_key: Jobs with the same key run one after the other: text with paths (``"order:{row.id}"``).
        options: Options of the jobs, see ``OPTIONS``, with the meaning that they have in ``queue.enqueue``. Without a
            ``tenant_id`` a job is about the tenant whose row changed.

    Raises:
        TriggerError: A part of it is wrong; ``context["part"]`` names it.
    """

    name: str
    workflow: str | Workflow
    subjects: Sequence[str]
    operations: Sequence[str] = ()
    filter: Mapping[str, Any] | None = None
    transition: bool = False
    changed: Sequence[str] = ()
    inputs: Mapping[str, Any] | None = None
    ordering_key: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise TriggerError(
                f"The name of a trigger is 1 to 100 letters, digits, '_' and '-', got {self.name!r}.", part="name"
            )
        if self.inputs is not None:
            if not isinstance(self.inputs, Mapping):
                raise TriggerError("inputs maps names to paths into the event.", part="inputs", value=self.inputs)
            check_paths("inputs", self.inputs)
        if self.ordering_key is not None:
            check_key(self.ordering_key)
        for name in ("subjects", "operations", "changed"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        self._check_options()

    def _check_options(self) -> None:
        for name in self.options:
            if name not in OPTIONS:
                raise TriggerError(
                    f"A trigger has no option {name!r}.", hint=did_you_mean(str(name), OPTIONS), part=str(name)
                )
        given = {name: value for name, value in self.options.items() if value is not None}
        queue = given.get("queue", "default")
        if not isinstance(queue, str) or not queue or "," in queue:
            raise TriggerError(f"queue is a word without commas, got {queue!r}.", part="queue", value=queue)
        retry = given.get("retry")
        if retry is not None and not isinstance(retry, int | Mapping):  # RQ's Retry
            given["retry"] = {"max": retry.max, "interval": list(retry.intervals)}
        object.__setattr__(self, "options", given)
        try:
            request = EnqueueRequest(workflow="", **{name: value for name, value in given.items() if name != "queue"})
            request.check()
            request.arguments("default", Payload(name=""), "", None, "")
            encode(self.to_document(), max_size=MAX_SIZE)
        except InputError as error:
            raise TriggerError(error.message, hint=error.hint, part="options") from error
        except (TypeError, AttributeError) as error:
            raise TriggerError(
                f"An option of the jobs has a value of a wrong type: {error}.", part="options"
            ) from error

    @property
    def workflow_name(self) -> str:
        """Name of its workflow."""
        return self.workflow if isinstance(self.workflow, str) else self.workflow.name

    @property
    def paths(self) -> Mapping[str, Any]:
        """Its inputs; the whole event where none are given."""
        return {"event": "event"} if self.inputs is None else self.inputs

    def describe(self) -> str:
        """Which events, for people to read.

        >>> Trigger(name="t", workflow="w", subjects=["Order"], operations=["update"]).describe()
        'update of Order'
        """
        text = f"{', '.join(self.operations) or 'changes'} of {', '.join(self.subjects)}"
        if self.changed:
            text += f", {', '.join(self.changed)} changed"
        if self.filter is not None:
            text += f", {'now ' if self.transition else ''}{dict(self.filter)}"
        return text

    def to_document(self) -> dict[str, Any]:
        """The trigger as values that the wire codec takes; what has its default is left out."""
        document: dict[str, Any] = {"v": VERSION}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Workflow):
                document["document"] = workflow_to_document(value)
            elif value not in (item.default, (), {}) or (item.name in ("inputs", "filter") and value is not None):
                document[item.name] = list(value) if isinstance(value, tuple) else value
        return document

    def encoded(self) -> bytes:
        """The document as it is kept."""
        return encode(self.to_document())

    @property
    def digest(self) -> str:
        """Tells whether two declarations are the same: 32 hexadecimal digits."""
        return hashlib.blake2b(self.encoded(), digest_size=16).hexdigest()

    @classmethod
    def decoded(cls, data: bytes, catalog: NodeCatalog) -> Trigger:
        """The trigger that ``encoded`` gave.

        Args:
            data: The document.
            catalog: Where the node types of a workflow of its own are found.

        Raises:
            TriggerError: It is damaged, of another version, or holds what cannot be used here.
        """
        try:
            given = decode(data, max_size=MAX_SIZE)
            version = given.pop("v")
            if version != VERSION:
                raise TriggerError(
                    f"The trigger's document has version {version!r}, and this program reads version {VERSION}.",
                    hint="It was written by another release: upgrade the older side.",
                )
            if "document" in given:
                given["workflow"] = workflow_from_document(given.pop("document"), catalog)
            return cls(**given)
        except (PayloadError, TypeError, AttributeError, KeyError) as error:
            raise TriggerError(f"The trigger's document is damaged: {error}.", part="document") from error


def _texts(part: str, given: Any) -> tuple[str, ...]:
    found = (given,) if isinstance(given, str) else tuple(given)
    for item in found:
        if not isinstance(item, str):
            raise TriggerError(f"{part} are texts, got {item!r}.", part=part, value=item)
    return found
