"""What a worker may run: nodes of the applications that it serves, and their registered workflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

from dataflow.databases.interface import Guard
from dataflow.errors import ConfigurationError, PayloadError, did_you_mean
from dataflow.jobs.wire import Payload
from dataflow.nodes.builtin import BUILTIN
from dataflow.nodes.registry import Catalog, NodeSource
from dataflow.resilience import CircuitBreaker
from dataflow.workflows import Workflow, resolve_step
from dataflow.workflows.codec import decode
from dataflow.workflows.document import workflow_from_document

#: Node types that run code which travels with the job.
CODE_NODES = frozenset({"PythonCodeNode"})
#: Workflows kept ready after they were read from a job; past it the oldest goes.
MAX_WORKFLOWS = 1_000


class App(NodeSource, Protocol):
    """A DataFlow instance, as far as a worker is concerned."""

    @property
    def breakers(self) -> Mapping[str, CircuitBreaker]:
        """Its circuit breakers, by name."""
        ...

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """Its registered workflows, by name."""
        ...


class Served:
    """What a worker may run.

    Args:
        apps: The instances that it serves.
        allow_code: Whether nodes may run code that travels with a job. That of registered workflows is the
            application's own, and may always.

    Raises:
        ConfigurationError: Two instances registered a workflow under the same name.
    """

    def __init__(self, apps: Sequence[App], *, allow_code: bool = False) -> None:
        self.apps = tuple(apps)
        self.catalog = Catalog(BUILTIN, apps)
        self._allow_code = allow_code
        self._registered: dict[str, Workflow] = {}
        for app in apps:
            for name, workflow in app.workflows.items():
                if self._registered.setdefault(name, workflow) is not workflow:
                    raise ConfigurationError(f"Two instances registered a workflow named {name!r}.")
        self._read: dict[bytes, Workflow] = {}
        self._guards: WeakKeyDictionary[Workflow, tuple[Guard, ...]] = WeakKeyDictionary()

    def workflow(self, payload: Payload) -> Workflow:
        """The workflow that a job asks for. One that travels with jobs is read and validated once.

        Raises:
            PayloadError: No workflow is registered under that name, the document cannot be read, or it carries code.
            WorkflowError: The document asks for what the applications do not have.
        """
        if payload.document is None:
            name = payload.name or ""
            if name not in self._registered:
                raise PayloadError(
                    f"No workflow is registered as {name!r} in the application that this worker serves.",
                    hint=did_you_mean(name, self._registered),
                )
            return self._registered[name]
        workflow = self._read.get(payload.document)
        if workflow is None:
            workflow = workflow_from_document(decode(payload.document), self.catalog)
            if not self._allow_code and any(step.type in CODE_NODES for step in workflow.steps):
                raise PayloadError(
                    "The job carries Python code (PythonCodeNode), and this worker runs none that arrives with jobs.",
                    hint="Register the workflow in the application, or start the worker with --allow-code.",
                )
            if len(self._read) >= MAX_WORKFLOWS:
                self._read.pop(next(iter(self._read)))
            self._read[payload.document] = workflow
        return workflow

    def breakers(self) -> list[CircuitBreaker]:
        """All circuit breakers of the applications."""
        return [breaker for app in self.apps for breaker in app.breakers.values()]

    def guards(self, workflow: Workflow) -> tuple[Guard, ...]:
        """What guards the dependencies of a workflow's nodes, by name, each once."""
        guards = self._guards.get(workflow)
        if guards is None:
            found = (resolve_step(step, self.catalog).guard for step in workflow.steps)
            by_id = {id(guard): guard for guard in found if guard is not None and guard.name}
            guards = self._guards[workflow] = tuple(sorted(by_id.values(), key=lambda guard: guard.name))
        return guards
