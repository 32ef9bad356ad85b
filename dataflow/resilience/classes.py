"""What an error says about another try of the same work."""

from __future__ import annotations

from dataflow.errors import (
    BreakerOpenError,
    ConfigurationError,
    ConstraintError,
    DatabaseUnavailableError,
    InputError,
    ModelError,
    PayloadError,
    PoolTimeoutError,
    TransientDatabaseError,
    WebhookGoneError,
    WorkflowExecutionError,
)

#: Another try with the same input ends the same way.
FINAL = (InputError, PayloadError, ConstraintError, ConfigurationError, ModelError, WebhookGoneError)
#: Something else was in the way.
TRANSIENT = (TransientDatabaseError, DatabaseUnavailableError, PoolTimeoutError, BreakerOpenError, ConnectionError)


def cause_of(error: BaseException) -> BaseException:
    """What a node raised, where the error is a run's."""
    if isinstance(error, WorkflowExecutionError) and error.__cause__ is not None:
        return error.__cause__
    return error


def is_final(error: BaseException) -> bool:
    """Whether trying again is useless."""
    return isinstance(cause_of(error), FINAL)


def is_transient(error: BaseException) -> bool:
    """Whether the error passes by itself."""
    return isinstance(cause_of(error), TRANSIENT)
