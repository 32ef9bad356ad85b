"""Which steps wait for which, and an order in which all can run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from dataflow.errors import WorkflowValidationError
from dataflow.workflows.workflow import Workflow


def dependencies(workflow: Workflow) -> Mapping[str, frozenset[str]]:
    """Step id → steps that must end before it starts: those connected to it, and those its templates read."""
    none: frozenset[str] = frozenset()
    return {
        step_id: frozenset(edge.source for edge in edges) | workflow.reads.get(step_id, none)
        for step_id, edges in workflow.incoming.items()
    }


def in_order(step_ids: Sequence[str], needs: Mapping[str, Collection[str]]) -> list[str]:
    """Step ids so that each follows those it needs; otherwise as given.

    Raises:
        WorkflowValidationError: They wait for each other in a circle; the message shows it.
    """
    if _is_ordered(step_ids, needs):
        return list(step_ids)
    position = {step_id: index for index, step_id in enumerate(step_ids)}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for step_id in step_ids:
        sorter.add(step_id)
    for step_id, sources in needs.items():
        sorter.add(step_id, *sorted(sources, key=position.__getitem__))
    try:
        return list(sorter.static_order())
    except CycleError as error:
        circle: list[str] = error.args[1]
        raise WorkflowValidationError(
            f"These nodes wait for each other: {' → '.join(circle)}.",
            hint="Remove one of these connections or templates.",
            cycle=circle,
        ) from None


def _is_ordered(step_ids: Sequence[str], needs: Mapping[str, Collection[str]]) -> bool:
    """Whether each already follows those it needs, as in most builders and in every document."""
    seen: set[str] = set()
    for step_id in step_ids:
        if not seen.issuperset(needs.get(step_id, ())):
            return False
        seen.add(step_id)
    return True
