"""The serializer that RQ's own tools read our jobs with."""

from __future__ import annotations

from typing import Any

from dataflow.workflows.codec import decode, encode


class RQSerializer:
    """DataFlow's codec with the methods that RQ asks of a serializer.

    It decodes data only, never code, so reading a job that somebody else wrote is safe.

    Example:
        >>> rq.job.Job.fetch(job_id, connection=redis, serializer=RQSerializer).return_value()
        >>> # on the command line: rq info; rq worker --serializer dataflow.jobs.serializer.RQSerializer
    """

    @staticmethod
    def dumps(value: Any) -> bytes:
        """A value as bytes."""
        return encode(value)

    @staticmethod
    def loads(data: bytes) -> Any:
        """The value of bytes."""
        return decode(data)
