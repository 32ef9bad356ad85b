"""RowFilter: the words of a filter, asked of the row or the payload that an event brings.

It is compiled by queries' own compiler and asked of SQLite in memory, so it means what it means in a List node.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from dataflow.databases.in_memory import fetch_value
from dataflow.databases.interface import Dialect
from dataflow.errors import InvalidFilterError, UnknownFieldError
from dataflow.models import FieldSpec, FieldType, Kind, ModelSpec
from dataflow.queries.codecs import FieldCodec, ModelCodec, field_codec
from dataflow.queries.filters import parse_conditions
from dataflow.queries.given_row import ask_row, asked_fields
from dataflow.queries.relations import find_relation

logger = logging.getLogger("dataflow.events")

#: What the payload of a message is to a filter: a JSON field of this name.
_PAYLOAD = "payload"


class RowFilter:
    """One filter over rows with these fields.

    Args:
        owner: What messages call the owner of the fields.
        fields: What can be named.
        conditions: The filter.

    Raises:
        InputError: It is no filter over these fields.

    Attributes:
        names: The fields that it looks at.
    """

    def __init__(self, owner: str, fields: Mapping[str, FieldCodec], conditions: Mapping[str, Any]) -> None:
        where = parse_conditions(fields, Dialect.SQLITE, conditions, owner=owner)
        self.owner = owner
        self.names = sorted(asked_fields(where.shape))
        self._fields = [(name, fields[name].encode) for name in self.names]
        self._values = where.values
        self._always = where.is_empty
        self._plan = ask_row(where, self.names, fields) if self.names else None
        self._told: set[str] = set()

    def matches(self, row: Mapping[str, Any]) -> bool | None:
        """Whether a row matches, in the Python types of its fields; None if a value that decides it is not there."""
        if self._plan is None:
            return self._always
        values: list[Any] = []
        for name, encode in self._fields:
            try:
                value = row[name]
                values.append(value if encode is None or value is None else encode(value))
            except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
                # The database did not tell it, or another program wrote what the field cannot have.
                self._tell(name)
                return None
        found = fetch_value(self._plan.sql, self._plan.arguments([*values, *self._values]))
        return found is not None

    def _tell(self, name: str) -> None:
        if name not in self._told:
            self._told.add(name)
            logger.warning(
                "A filter on %s asks for %r, which the database does not tell of every row: whether those match is not "
                "known. `dataflow capture --probe` says what would mend it.", self.owner, name,
            )  # fmt: skip


def model_filter(spec: ModelSpec, conditions: Mapping[str, Any]) -> RowFilter:
    """A filter on the rows of a model.

    Raises:
        InputError: It is no filter on this model; or it follows a relation, or asks for what events do not tell.
    """
    fields = ModelCodec(spec, Dialect.SQLITE).fields
    try:
        made = RowFilter(spec.name, fields, conditions)
    except UnknownFieldError as error:
        name = str(error.context.get("field"))
        relation = find_relation(spec, name)
        if relation is None:
            raise
        raise InvalidFilterError(
            f"Filter on {spec.name}: '{name}' is a relation, and an event brings one row.",
            hint=f"Filter on '{relation.field}', or look at the related row where the event is handled.",
            model=spec.name,
            field=name,
        ) from None
    for name in made.names:
        if (shown := fields[name].spec.events) != "show":
            raise InvalidFilterError(
                f"Filter on {spec.name}: events do not tell '{name}', it has events='{shown}'.",
                hint="Filter on another field, or ask the database where the event is handled.",
                model=spec.name,
                field=name,
            )
    return made


def payload_filter(message: str, conditions: Mapping[str, Any]) -> RowFilter:
    """A filter on the payloads of a type of messages; ask it of ``{"payload": payload}``.

    Raises:
        InputError: It is no filter on a JSON value.
    """
    item = FieldSpec(_PAYLOAD, FieldType(Kind.JSON, dict), nullable=True)
    codec = field_codec(message, item, Dialect.SQLITE)
    return RowFilter(message, {_PAYLOAD: codec}, _inside(conditions))


def _inside(conditions: Any) -> Any:
    """Conditions on keys of the payload, as conditions on the field that holds it."""
    if not isinstance(conditions, Mapping):
        return conditions
    made: dict[Any, Any] = {}
    for name, condition in conditions.items():
        if not isinstance(name, str):
            made[name] = condition
        elif name.startswith("$"):
            lists = isinstance(condition, list | tuple)
            made[name] = [_inside(part) for part in condition] if lists else _inside(condition)
        else:
            made[f"{_PAYLOAD}.{name}"] = condition
    return made
