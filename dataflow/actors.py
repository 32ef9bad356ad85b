"""``db.actor``: functions of the application as jobs and as nodes."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, overload

from dataflow.errors import ConfigurationError
from dataflow.jobs import JobQueue
from dataflow.jobs.actor import Actor
from dataflow.jobs.ordering import OrderingKey, key_maker
from dataflow.jobs.requests import RetryLike
from dataflow.nodes import BUILTIN, Node
from dataflow.workflows import Step, Workflow, WorkflowBuilder

Params = ParamSpec("Params")
Result = TypeVar("Result")


class OffersActors(ABC):
    """The part of a DataFlow instance that makes actors."""

    name: str
    _nodes: dict[str, Node]
    _workflows: dict[str, Workflow]
    _actors: dict[str, Actor[..., Any]]

    @abstractmethod
    def queue(self, name: str = "default", url: str | None = None) -> JobQueue:
        """A queue of workflows."""

    @abstractmethod
    def register_workflow(self, name: str, workflow: Workflow | WorkflowBuilder) -> Workflow:
        """Give a workflow a name that jobs can call it by."""

    @overload
    def actor(self, function: Callable[Params, Result]) -> Actor[Params, Result]: ...

    @overload
    def actor(
        self,
        *,
        queue: str = "default",
        timeout: float | None = None,
        retry: int | Mapping[str, Any] | RetryLike | None = None,
        ordering_key: OrderingKey | None = None,
        name: str | None = None,
    ) -> Callable[[Callable[Params, Result]], Actor[Params, Result]]: ...

    def actor(
        self,
        function: Callable[..., Any] | None = None,
        *,
        queue: str = "default",
        timeout: float | None = None,
        retry: int | Mapping[str, Any] | RetryLike | None = None,
        ordering_key: OrderingKey | None = None,
        name: str | None = None,
    ) -> Any:
        """Offer a function as a job and as a node type (decorator). It stays callable as it is.

        An async function runs on the worker's event loop, a sync one in a thread. Its parameters are checked against
        its annotations, as those of any node; its node's output is ``{"result": what it returned}``.

        Args:
            function: The function, where the decorator is used without options.
            queue: Queue of its jobs.
            timeout: Seconds a job of it may run; -1 for no limit; default the queue's.
            retry: How often a job of it is run again after a failure, as for ``queue.enqueue``.
            ordering_key: Jobs with the same key run one at a time, in the order of their sending: a format text of the
                arguments (``"customer:{customer}"``), or a function of some of them that returns text, or None for no
                key.
            name: Its name; default the function's.

        Raises:
            ConfigurationError: The name is taken, or its parameters or its ordering key cannot be used.

        Example:
            >>> @db.actor(queue="mail", retry=3)
            ... async def remind(customer: int, text: str) -> None: ...
            >>> remind.send(customer=7, text="Please pay.")
            >>> workflow.add_node("remind", "mail", {"text": "Thank you."})
        """
        from dataflow.nodes.actor import ActorNode

        local_names = dict(sys._getframe(1).f_locals)
        options = {"timeout": timeout, "retry": retry}

        def register(function: Callable[..., Any]) -> Actor[..., Any]:
            actor_name = name or function.__name__
            if any(actor_name in names for names in (self._nodes, self._workflows, BUILTIN)):
                raise ConfigurationError(
                    f"A node type or workflow named {actor_name!r} is there already.",
                    hint="Give the actor another name: @db.actor(name=…).",
                )
            node = ActorNode.of(function, actor_name, local_names)
            parameters = node.parameters
            names = tuple(item.name for item in parameters)
            defaults = {item.name: item.default for item in parameters if not item.required}
            key_of = key_maker(ordering_key, actor_name, defaults, names, takes_more=node.spec.open_parameters)
            actor = Actor(function, actor_name, names, lambda: self.queue(queue), node.outgoing, key_of, options)
            self._nodes[actor_name] = node
            self._actors[actor_name] = actor
            self.register_workflow(actor_name, Workflow(actor_name, (Step(actor_name, actor_name, {}, self.name),)))
            return actor

        return register if function is None else register(function)
