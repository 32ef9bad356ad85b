"""Selection: which events somebody asks for. Readers, triggers and webhooks all ask by it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from dataflow.errors import InputError, did_you_mean
from dataflow.events.envelope import Event, Op
from dataflow.events.row_filter import RowFilter, model_filter, payload_filter
from dataflow.models import ModelSpec

#: What people call the operations: our words, SQL's and Debezium's letters.
_OPERATIONS = {
    "create": Op.CREATE,
    "insert": Op.CREATE,
    "update": Op.UPDATE,
    "delete": Op.DELETE,
    "read": Op.READ,
    "truncate": Op.TRUNCATE,
    **{op.value: op for op in Op if op is not Op.MESSAGE},
}
_DEFAULT = frozenset({Op.CREATE, Op.UPDATE, Op.DELETE})
#: What marks a type of messages, among subjects as among streams.
MESSAGE = "@"


class Selection:
    """Which events somebody asks for.

    What the database does not tell can't be decided. A filter that needs it does not match; but where only the row
    before is not known, ``transition`` and ``changed`` do, so that no change is missed.

    Args:
        models: Model name → ModelSpec.
        subjects: Models, by class, name or table; types of messages, as ``"@order_created"`` or, where no model or
            table is called so or nearly so, ``"order_created"``.
        operations: ``create``, ``update``, ``delete``, ``read`` (rows of a snapshot), ``truncate``; or SQL's words, or
            Debezium's letters. Default create, update and delete. Messages come whatever it says.
        filter: What the row must be like, as docs/queries.md has it: the row after, of a delete the one before. Of a
            message, what the payload must be like, as inside a JSON field. Soft-deleted rows are rows. Events that
            bring no row, as a truncate, are not asked.
        transition: Only events that made the row match: it did not before. A create does; a delete never.
        changed: Only updates that changed at least one of these fields.

    Raises:
        InputError: A subject, an operation, a field or the filter is wrong.

    Attributes:
        streams: Where such events are: tables, and ``@`` and a type of messages.

    Example:
        >>> completed = Selection(db.models, ["Order"], filter={"status": "completed"}, transition=True)
        >>> completed.matches(event)
        True
    """

    streams: tuple[str, ...]

    def __init__(
        self,
        models: Mapping[str, ModelSpec],
        subjects: Sequence[type | str],
        *,
        operations: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        transition: bool = False,
        changed: Sequence[str] = (),
    ) -> None:
        if isinstance(subjects, str | type):
            subjects = [subjects]
        if not subjects:
            raise InputError("No model and no type of messages is named.", hint="Name at least one, such as Order.")
        found = [_subject(models, subject) for subject in subjects]
        specs = {spec.table_name: spec for spec in found if isinstance(spec, ModelSpec)}
        messages = [name for name in found if isinstance(name, str)]
        if transition and filter is None:
            raise InputError(
                "transition=True asks for events that make a row match, and there is no filter.",
                hint="Give a filter, such as {'status': 'completed'}.",
            )
        if messages and (transition or changed):
            raise InputError(
                f"Messages have no row before: '{messages[0]}' goes with no transition=True and no changed=….",
                hint="Ask for messages apart from models.",
            )
        self._operations = frozenset(map(_operation, _several(operations))) or _DEFAULT
        self._transition = transition
        self._changed = frozenset(_several(changed))
        for spec in specs.values():
            _check_changed(spec, self._changed)
        self._filters: dict[str, RowFilter | None] = dict.fromkeys((*specs, *(MESSAGE + name for name in messages)))
        if filter is not None:
            self._filters |= {table: model_filter(spec, filter) for table, spec in specs.items()}
            self._filters |= {MESSAGE + name: payload_filter(name, filter) for name in messages}
        self.streams = tuple(
            dict.fromkeys(spec.table_name if isinstance(spec, ModelSpec) else MESSAGE + spec for spec in found)
        )

    def matches(self, event: Event) -> bool:
        """Whether somebody asked for this event."""
        if event.op is Op.MESSAGE:
            name = MESSAGE + event.source.table
            if name not in self._filters:
                return False
            asked = self._filters[name]
            return asked is None or asked.matches({"payload": event.after}) is True
        if event.op not in self._operations or event.source.table not in self._filters:
            return False
        if self._changed and not self._has_changed(event):
            return False
        asked = self._filters[event.source.table]
        return asked is None or self._fits(asked, event)

    def _has_changed(self, event: Event) -> bool:
        if event.op is not Op.UPDATE:
            return False
        before = event.before
        return any(name in event.changed or before is None or name not in before for name in self._changed)

    def _fits(self, asked: RowFilter, event: Event) -> bool:
        row = event.before if event.op is Op.DELETE else event.after
        if self._transition:
            if event.after is None or asked.matches(event.after) is not True:
                return False
            return event.before is None or asked.matches(event.before) is not True
        if row is None:
            return event.op in (Op.TRUNCATE, Op.SCHEMA)
        return asked.matches(row) is True


def _several(given: Sequence[str]) -> Sequence[str]:
    """A single word stands for a list of it."""
    return [given] if isinstance(given, str) else given


def _subject(models: Mapping[str, ModelSpec], subject: type | str) -> ModelSpec | str:
    """The model that a subject names, or the type of messages."""
    name = subject.__name__ if isinstance(subject, type) else subject
    if not isinstance(name, str):
        raise InputError(f"A model or a type of messages is named by a class or a text, not by {name!r}.")
    if name.startswith(MESSAGE) and len(name) > 1:
        return name.removeprefix(MESSAGE)
    spec = models.get(name) or next((spec for spec in models.values() if spec.table_name == name), None)
    if spec is not None:
        if not spec.features.events:
            raise InputError(
                f'The model {spec.name} has no events: it is declared with "events": False.', model=spec.name
            )
        return spec
    called = {text.lower(): text for spec in models.values() for text in (spec.table_name, spec.name)}
    if isinstance(subject, type) or not name:
        raise InputError(f"There is no model {name!r}.", hint=did_you_mean(name, models), subject=name)
    if near := difflib.get_close_matches(name.lower(), called, n=1, cutoff=0.8):
        raise InputError(
            f"There is no model {name!r}.",
            hint=f"Did you mean '{called[near[0]]}'? A type of messages of that name is '{MESSAGE}{name}'.",
            subject=name,
        )
    return name


def _operation(word: str) -> Op:
    found = _OPERATIONS.get(str(word).lower())
    if found is None:
        words = ("create", "update", "delete", "read", "truncate")
        raise InputError(f"There is no operation {word!r}.", hint=did_you_mean(str(word), words), operation=word)
    return found


def _check_changed(spec: ModelSpec, changed: frozenset[str]) -> None:
    for name in sorted(changed):
        if spec.field(name).events == "omit":
            raise InputError(
                f"Events do not tell of {spec.name}.{name}, it has events='omit'.",
                hint="events='mask' tells whether it has changed.",
                model=spec.name,
                field=name,
            )
