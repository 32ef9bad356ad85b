"""Actor: a function whose calls can be sent to a queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

from dataflow.errors import InputError, did_you_mean
from dataflow.jobs.job import Job
from dataflow.jobs.queue import JobQueue
from dataflow.jobs.requests import EnqueueRequest
from dataflow.loop_thread import run_sync

Params = ParamSpec("Params")
Result = TypeVar("Result")

#: Options of a job that the call itself decides.
_DECIDED = frozenset({"workflow", "inputs"})


class Actor(Generic[Params, Result]):
    """A function of the application that workers run as a job; made by ``db.actor``.

    Called, it is the plain function. ``send`` enqueues a call instead and returns its job; ``job.result`` is what the
    function returned.

    Args:
        function: The function.
        name: Name of its registered workflow and of its node, the only one of that workflow.
        parameters: Names of its parameters, in order.
        queue: Gives the queue.
        outgoing: Checks arguments by name, and gives them as they travel.
        key_of: The ordering key of a call, from its arguments by name.
        options: Options of its jobs: fields of EnqueueRequest.

    Example:
        >>> @db.actor(queue="mail", retry=3, ordering_key="customer:{customer}")
        ... async def remind(customer: int, text: str) -> str: ...
        >>> job = remind.send(customer=7, text="Please pay.")
        >>> job.wait(timeout=60)
        >>> job.result
    """

    def __init__(
        self,
        function: Callable[Params, Result],
        name: str,
        parameters: Sequence[str],
        queue: Callable[[], JobQueue],
        outgoing: Callable[[Mapping[str, Any]], dict[str, Any]],
        key_of: Callable[[Mapping[str, Any]], str | None],
        options: Mapping[str, Any],
    ) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = name
        self.options = options
        self._parameters = parameters
        self._queue = queue
        self._outgoing = outgoing
        self._key_of = key_of

    def __repr__(self) -> str:
        return f"Actor({self.name!r})"

    def __call__(self, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        """Call the function here and now."""
        return self.function(*args, **kwargs)

    @property
    def queue(self) -> JobQueue:
        """Where its jobs go."""
        return self._queue()

    def with_options(self, **options: Any) -> Actor[Params, Result]:
        """The same actor, whose jobs have other options: ``delay``, ``job_id``, ``depends_on``, ``tenant_id``, …

        Raises:
            InputError: A job has no such option.
        """
        known = EnqueueRequest.__dataclass_fields__.keys() - _DECIDED
        for option in options:
            if option not in known:
                raise InputError(f"The job of an actor has no option {option!r}.", hint=did_you_mean(option, known))
        changed = {**self.options, **options}
        return Actor(
            self.function, self.name, self._parameters, self._queue, self._outgoing, self._key_of, changed
        )  # fmt: skip

    def request(self, *args: Params.args, **kwargs: Params.kwargs) -> EnqueueRequest:
        """A call as an EnqueueRequest: many of them go to ``queue.enqueue_many`` in one round trip.

        Raises:
            InputError: An argument is unknown, missing or of another type, or an option has a wrong value.
        """
        arguments = self._by_name(args, kwargs)
        travelling = self._outgoing(arguments)
        options = dict(self.options)
        if options.get("ordering_key") is None:
            options["ordering_key"] = self._key_of(arguments)
        return EnqueueRequest(workflow=self.name, inputs={self.name: travelling}, **options)

    async def send_async(self, *args: Params.args, **kwargs: Params.kwargs) -> Job:
        """Enqueue a call, in one round trip.

        Raises:
            InputError: An argument is unknown, missing or of another type, or an option has a wrong value.
            DuplicateJobError: ``unique`` was asked for, and the id exists.
            BrokerUnavailableError: The broker cannot be reached.
        """
        return (await self._queue().enqueue_many_async([self.request(*args, **kwargs)]))[0]

    def send(self, *args: Params.args, **kwargs: Params.kwargs) -> Job:
        """``send_async`` from synchronous code."""
        return run_sync(self.send_async(*args, **kwargs))

    def _by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self._parameters):
            raise InputError(f"{self.name} takes {len(self._parameters)} arguments, got {len(args)}.")
        arguments = dict(zip(self._parameters, args, strict=False))
        for name, value in kwargs.items():
            if name in arguments:
                raise InputError(f"{self.name} got the argument {name!r} twice.")
            arguments[name] = value
        return arguments
