"""The one function that our jobs name. It exists so that RQ's tools can show and import it."""

from __future__ import annotations

from typing import Any, NoReturn

from dataflow.errors import JobError


def run(**payload: Any) -> NoReturn:
    """Refuse: a workflow needs the application's models and pools, which ``rq worker`` does not have.

    Raises:
        JobError: Always.
    """
    named = payload.get("name")
    raise JobError(
        f"This job runs {f'the workflow {named!r}' if named else 'a workflow'}, which a stock RQ worker cannot do.",
        hint="Serve its queue with `dataflow worker app:db`.",
    )
