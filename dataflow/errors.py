"""Every error DataFlow raises, in one tree.

    DataFlowError                       DF-000
    ├── ConfigurationError              DF-401  a setting, URL or instance name is wrong
    ├── ModelError                      DF-601  a model declaration cannot be used
    │   └── ModelValidationError        DF-602  strict validation found problems (VAL-…)
    ├── InputError                      DF-100  what the caller passed to a node or filter is wrong
    │   ├── MissingParameterError       DF-101
    │   ├── TypeMismatchError           DF-102
    │   ├── UnknownParameterError       DF-103
    │   ├── UpdateParameterError        DF-104
    │   ├── UnknownFieldError           DF-106
    │   ├── UnknownOperatorError        DF-107
    │   ├── InvalidFilterError          DF-108
    │   ├── ConfirmationRequiredError   DF-109  a bulk change would touch every row
    │   ├── TenantError                 DF-110  a run names no tenant, or a row is another tenant's
    │   ├── ScheduleError               DF-111  a schedule cannot be declared, or changed like that
    │   │   └── ScheduleNotFoundError   DF-112
    │   ├── TriggerError                DF-113  a trigger cannot be declared, or changed like that
    │   │   └── TriggerNotFoundError    DF-114
    │   └── WebhookAddressError         DF-118  a webhook may not be sent there
    ├── WorkflowError                   DF-200
    │   ├── WorkflowValidationError     DF-201  the graph cannot be built
    │   ├── NodeNotFoundError           DF-202  no such node type
    │   ├── AmbiguousNodeError          DF-203  several instances offer the node type
    │   ├── OutputPathError             DF-204  a connection's path leads nowhere
    │   └── WorkflowExecutionError      DF-504  a node failed
    ├── SchemaError                     DF-301
    │   ├── MissingTableError           DF-302
    │   └── SchemaMismatchError         DF-303  the table lacks columns of the model
    ├── DatabaseError                   DF-500
    │   ├── DatabaseUnavailableError    DF-501
    │   ├── PoolTimeoutError            DF-502  no connection became free in time
    │   ├── TransientDatabaseError      DF-503  deadlock, lock timeout, serialization: a retry may succeed
    │   └── ConstraintError             DF-510
    │       ├── UniqueViolationError    DF-511
    │       ├── ForeignKeyViolationError DF-512
    │       ├── NotNullViolationError   DF-513
    │       └── CheckViolationError     DF-514
    ├── RecordError                     DF-700
    │   ├── RecordNotFoundError         DF-703
    │   ├── MultipleRecordsError        DF-704  a filter for one row matched several
    │   └── VersionConflictError        DF-705  the row has changed since it was read
    ├── EventError                      DF-850
    │   ├── MissedEventsError           DF-854  events are gone, or may be, that a reader had yet to read
    │   ├── CaptureError                DF-851  the changes of a database can't be captured, or not so
    │   │   ├── LostPositionError       DF-852  the database's log no longer reaches back to where capture stood
    │   │   └── FencedError             DF-853  another process captures now
    │   └── WebhookError                DF-860  a webhook was not taken
    │       └── WebhookGoneError        DF-861  its server wants no more
    ├── BreakerOpenError                DF-900  a dependency did not answer lately, and is not called for now
    └── JobError                        DF-800
        ├── BrokerUnavailableError      DF-801
        ├── PayloadError                DF-802  a job's payload cannot be read
        │   └── SignatureError          DF-810  a job is not, or not any more, what its producer signed
        ├── JobNotFoundError            DF-803
        ├── DuplicateJobError           DF-804  unique=True and the job id exists
        ├── JobFailedError              DF-805
        └── JobCanceledError            DF-806

An error says what is wrong, then (``hint``) what to do. ``context`` carries the same facts as data, so that
callers need not parse text. A run that exceeds its time raises the builtin ``TimeoutError``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class DataFlowError(Exception):
    """Base of the tree.

    Args:
        message: What is wrong, in one sentence.
        hint: What to do about it.
        context: The facts as data (model, field, value, …); keys become ``error.context``.
    """

    code: ClassVar[str] = "DF-000"

    def __init__(self, message: str, *, hint: str | None = None, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context: dict[str, Any] = context

    def __str__(self) -> str:
        text = f"[{self.code}] {self.message}"
        return f"{text} {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.context)


def _rebuild(cls: type[DataFlowError], message: str, hint: str | None, context: dict[str, Any]) -> DataFlowError:
    error = cls.__new__(cls)
    DataFlowError.__init__(error, message, hint=hint, **context)
    return error


class ConfigurationError(DataFlowError):
    code = "DF-401"


class ModelError(DataFlowError):
    code = "DF-601"


class ModelValidationError(ModelError):
    """Strict validation failed; ``context["issues"]`` lists ``(code, message)`` pairs."""

    code = "DF-602"


class InputError(DataFlowError, ValueError):
    code = "DF-100"


class MissingParameterError(InputError):
    code = "DF-101"


class TypeMismatchError(InputError):
    code = "DF-102"


class UnknownParameterError(InputError):
    code = "DF-103"


class UpdateParameterError(InputError):
    code = "DF-104"


class UnknownFieldError(InputError):
    code = "DF-106"


class UnknownOperatorError(InputError):
    code = "DF-107"


class InvalidFilterError(InputError):
    code = "DF-108"


class ConfirmationRequiredError(InputError):
    code = "DF-109"


class TenantError(InputError):
    code = "DF-110"


class ScheduleError(InputError):
    """A schedule is not as it may be; ``context`` has ``part``, the argument that is wrong, and ``value``."""

    code = "DF-111"


class ScheduleNotFoundError(ScheduleError, LookupError):
    code = "DF-112"


class TriggerError(InputError):
    """A trigger is not as it may be; ``context`` has ``part``, the argument that is wrong, and ``value``."""

    code = "DF-113"


class TriggerNotFoundError(TriggerError, LookupError):
    code = "DF-114"


class WebhookAddressError(InputError):
    code = "DF-118"


class WorkflowError(DataFlowError):
    code = "DF-200"


class WorkflowValidationError(WorkflowError):
    """The graph cannot be built; ``context["issues"]`` lists every problem found, not only the first."""

    code = "DF-201"


class NodeNotFoundError(WorkflowError):
    code = "DF-202"


class AmbiguousNodeError(WorkflowError):
    code = "DF-203"


class OutputPathError(WorkflowError):
    code = "DF-204"


class WorkflowExecutionError(WorkflowError):
    """A node failed; the cause is ``__cause__``.

    Attributes:
        results: Outputs of the nodes that had finished.
    """

    code = "DF-504"

    def __init__(
        self,
        message: str,
        *,
        node_id: str,
        node_type: str,
        error_code: str,
        run_id: str,
        results: Mapping[str, Any] | None = None,
        hint: str | None = None,
    ) -> None:
        facts = {"node_id": node_id, "node_type": node_type, "error_code": error_code, "run_id": run_id}
        super().__init__(message, hint=hint, **facts)
        self.results = dict(results or {})

    @property
    def node_id(self) -> str:
        """Id of the failed node."""
        return str(self.context["node_id"])

    @property
    def node_type(self) -> str:
        """Type of the failed node."""
        return str(self.context["node_type"])

    @property
    def error_code(self) -> str:
        """Code of the cause, or the name of its class."""
        return str(self.context["error_code"])

    @property
    def run_id(self) -> str:
        """The run."""
        return str(self.context["run_id"])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_execution_error, (self.message, self.hint, self.context, self.results)


def _rebuild_execution_error(
    message: str, hint: str | None, context: dict[str, Any], results: dict[str, Any]
) -> WorkflowExecutionError:
    return WorkflowExecutionError(message, hint=hint, results=results, **context)


class SchemaError(DataFlowError):
    code = "DF-301"


class MissingTableError(SchemaError):
    code = "DF-302"


class SchemaMismatchError(SchemaError):
    code = "DF-303"


class DatabaseError(DataFlowError):
    code = "DF-500"


class DatabaseUnavailableError(DatabaseError):
    code = "DF-501"


class PoolTimeoutError(DatabaseError):
    code = "DF-502"


class TransientDatabaseError(DatabaseError):
    code = "DF-503"


class ConstraintError(DatabaseError):
    code = "DF-510"


class UniqueViolationError(ConstraintError):
    code = "DF-511"


class ForeignKeyViolationError(ConstraintError):
    code = "DF-512"


class NotNullViolationError(ConstraintError):
    code = "DF-513"


class CheckViolationError(ConstraintError):
    code = "DF-514"


class RecordError(DataFlowError):
    code = "DF-700"


class RecordNotFoundError(RecordError, LookupError):
    code = "DF-703"


class MultipleRecordsError(RecordError):
    code = "DF-704"


class VersionConflictError(RecordError):
    """``context`` has ``expected``, the version that was asked for, and ``actual``, the row's own."""

    code = "DF-705"


class BreakerOpenError(DataFlowError):
    """A circuit breaker is open; nothing was called. ``context`` has ``breaker``, its name."""

    code = "DF-900"

    @property
    def retry_after(self) -> float:
        """Seconds until a call may go through."""
        return float(self.context.get("retry_after", 0.0))


class EventError(DataFlowError):
    code = "DF-850"


class MissedEventsError(EventError):
    """Events are gone, or may be, that a reader had yet to read.

    ``context`` has ``stream``, ``after`` (the id of the last event that the reader knows of, or knew) and ``resume``:
    an id to go on after, given as ``since``.
    """

    code = "DF-854"


class CaptureError(EventError):
    code = "DF-851"


class LostPositionError(CaptureError):
    """Changes were committed that nobody will tell any more. Go on from now, and take a snapshot."""

    code = "DF-852"


class FencedError(CaptureError):
    """Another process captures now, or Redis has forgotten what this one told it. Capture begins anew by itself."""

    code = "DF-853"


class WebhookError(EventError):
    """A webhook was not taken; ``context`` has ``status``, where there was a reply."""

    code = "DF-860"


class WebhookGoneError(WebhookError):
    """The server answered 410 Gone. Trying again is useless."""

    code = "DF-861"


class JobError(DataFlowError):
    code = "DF-800"


class BrokerUnavailableError(JobError):
    code = "DF-801"


class PayloadError(JobError):
    code = "DF-802"


class SignatureError(PayloadError):
    code = "DF-810"


class JobNotFoundError(JobError, LookupError):
    code = "DF-803"


class DuplicateJobError(JobError):
    code = "DF-804"


class JobFailedError(JobError):
    code = "DF-805"


class JobCanceledError(JobError):
    code = "DF-806"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, else lists up to twelve that exist.

    >>> did_you_mean("nmae", ["name", "email"])
    "Did you mean 'name'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not near:
        folded = {candidate.lower(): candidate for candidate in names}
        near = [folded[hit] for hit in difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)]
    if near:
        return f"Did you mean '{near[0]}'?"
    if not names:
        return "None exist."
    shown = ", ".join(names[:12])
    return f"Known: {shown}{', …' if len(names) > 12 else ''}."
