"""BlockReader: checks rows as users give them, and turns them into Blocks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import Any

from dataflow.errors import (
    InputError,
    MissingParameterError,
    NotNullViolationError,
    TenantError,
    UnknownFieldError,
    UpdateParameterError,
)
from dataflow.models import FieldSpec
from dataflow.models.spec import Managed
from dataflow.queries.bulk_block import Block, InputRow, Stamp
from dataflow.queries.bulk_values import ColumnBinder, at_row
from dataflow.queries.codecs import ModelCodec
from dataflow.queries.updates import is_restoring

#: What a row that cannot be used raises before it reaches the database.
REFUSALS = (InputError, NotNullViolationError)

_ABSENT = object()
_TENANT_ID = Managed.TENANT_ID.value


class BlockReader:
    """Checks rows and turns them into Blocks.

    Args:
        codec: The model on its database.
        strip: Called with the names of managed timestamps that rows gave; they are left out.
    """

    def __init__(self, codec: ModelCodec, strip: Callable[[Collection[str]], None]) -> None:
        self.spec = codec.spec
        self._binders = {name: ColumnBinder(field, codec.spec.name) for name, field in codec.fields.items()}
        self._strip = strip

    def new_rows(
        self, rows: Sequence[InputRow], positions: Sequence[int] | None, stamp: Stamp, *, apart: bool = False
    ) -> list[Block]:
        """Rows to insert: defaults and timestamps filled in.

        Where some rows give a generated id and others leave it to the database, the former come first, in a Block of
        their own. Fields that no row gives, and that may be None, are left out.

        Args:
            rows: At least one.
            positions: Their numbers in the input; None for a single row that has none.
            stamp: Values of the managed fields.
            apart: Rows that give different fields come in Blocks of their own.

        Raises:
            UnknownFieldError: A row names a field that does not exist.
            MissingParameterError: A row lacks a required field.
            TypeMismatchError: A value is of another type.
            NotNullViolationError: A required field is None.
            TenantError: A row is another tenant's.
        """
        self.check_rows(rows, positions, stamp.tenant)
        given = _same_fields(rows)
        complete = given is not None
        if given is None:
            if apart:
                return [
                    block
                    for indexes in _groups(rows)
                    for block in self.new_rows([rows[i] for i in indexes], _pick(positions, indexes), stamp)
                ]
            given = _all_fields(rows)
        self._check_fields(given, rows, positions)
        key = self.spec.primary_key
        if key.generated and key.name in given:
            # As in a single create, None leaves the id to the database.
            absent = _where_absent(given[key.name], complete=complete)
            if absent and len(absent) < len(rows):
                left_out = set(absent)
                with_id = [index for index in range(len(rows)) if index not in left_out]
                return [
                    block
                    for indexes in (with_id, absent)
                    for block in self.new_rows([rows[i] for i in indexes], _pick(positions, indexes), stamp)
                ]
            if absent:
                del given[key.name]
        names: list[str] = []
        columns: list[list[Any]] = []
        for item in self.spec.fields:
            column = self._new_column(item, given.get(item.name), len(rows), positions, stamp, complete=complete)
            if column is not None:
                names.append(item.name)
                columns.append(column)
        return [Block(tuple(names), tuple(columns), positions or range(len(rows)), frozenset(given))]

    def changed_rows(self, rows: Sequence[InputRow], positions: Sequence[int], stamp: Stamp) -> list[Block]:
        """Rows to update by ``id``: what they give, and ``updated_at``; rows that give different fields come apart.

        ``deleted_at`` may be given as None, to bring rows back.

        Raises:
            UnknownFieldError, TypeMismatchError, NotNullViolationError, TenantError: As ``new_rows``.
            UpdateParameterError: A row gives a version, or a moment of deletion.
        """
        self.check_rows(rows, positions, stamp.tenant)
        given = _same_fields(rows)
        if given is None:
            return [
                block
                for indexes in _groups(rows)
                for block in self.changed_rows([rows[i] for i in indexes], [positions[i] for i in indexes], stamp)
            ]
        restoring = self._take_restoring(given, positions)
        self._check_fields(given, rows, positions)
        given |= restoring
        names = [item.name for item in self.spec.fields if item.name in given or item.managed is Managed.UPDATED_AT]
        columns = [
            self._bind(name, given[name], positions) if name in given else self._constant(name, stamp.moment, len(rows))
            for name in names
        ]
        return [Block(tuple(names), tuple(columns), positions, frozenset(given))]

    def bind(self, name: str, values: list[Any], positions: Sequence[int] | None) -> list[Any]:
        """Driver values of one field."""
        return self._bind(name, values, positions)

    def check_rows(self, rows: Sequence[InputRow], positions: Sequence[int] | None, tenant: str | None) -> None:
        """Refuse rows that are no dicts, and those of other tenants.

        Raises:
            InputError: A row is no dict.
            TenantError: A row of a multi-tenant model gives another tenant than the run's.
        """
        self._check_dicts(rows, positions)
        if not self.spec.features.multi_tenant:
            return
        for index, row in enumerate(rows):
            if _TENANT_ID in row and row[_TENANT_ID] != tenant:
                error = TenantError(
                    f"{self.spec.name}: a row gives another tenant_id than the run's.",
                    hint="Leave tenant_id out of the rows.",
                    model=self.spec.name,
                )
                raise error if positions is None else at_row(error, positions[index])

    def check_names(self, row: InputRow, position: int) -> None:
        """Refuse a row that is not a dict, or names fields that do not exist.

        Raises:
            UnknownFieldError, TypeMismatchError: With the row's number.
        """
        self._check_dicts([row], [position])
        for name in row:
            self._known(name, [row], [position])

    def _check_dicts(self, rows: Sequence[Any], positions: Sequence[int] | None) -> None:
        if set(map(type, rows)) <= {dict}:
            return
        for index, row in enumerate(rows):
            if not isinstance(row, Mapping):
                error = InputError(
                    f"{self.spec.name}: a row is a dict, got {type(row).__name__}.", hint="Write {'field': value}."
                )
                raise error if positions is None else at_row(error, positions[index])

    def _check_fields(
        self, given: dict[str, list[Any]], rows: Sequence[InputRow], positions: Sequence[int] | None
    ) -> None:
        """Refuse fields that do not exist, and take out managed ones."""
        for name in given:
            self._known(name, rows, positions)
        if self.spec.features.multi_tenant:
            # It is the run's own: naming it is needless, but right.
            given.pop(_TENANT_ID, None)
        managed = [item.name for item in self.spec.fields if item.managed and item.name in given]
        if managed:
            self._strip(managed)
            for name in managed:
                del given[name]

    def _take_restoring(self, given: dict[str, list[Any]], positions: Sequence[int]) -> dict[str, list[Any]]:
        """Take out the managed fields that an update may set: ``deleted_at``, to None."""
        taken: dict[str, list[Any]] = {}
        for name in self.spec.features.managed:
            if name not in (Managed.VERSION, Managed.DELETED_AT) or name.value not in given:
                continue
            taken[name.value] = given.pop(name.value)
            for value, position in zip(taken[name.value], positions, strict=True):
                try:
                    is_restoring(self.spec, self.spec.by_name[name.value], value)
                except UpdateParameterError as error:
                    raise at_row(error, position) from None
        return taken

    def _known(self, name: Any, rows: Sequence[InputRow], positions: Sequence[int] | None) -> None:
        if name in self.spec.by_name:
            return
        try:
            self.spec.field(name)
        except UnknownFieldError as error:
            if positions is None:
                raise
            index = next(index for index, row in enumerate(rows) if name in row)
            raise at_row(error, positions[index]) from None

    def _new_column(
        self,
        item: FieldSpec,
        values: list[Any] | None,
        count: int,
        positions: Sequence[int] | None,
        stamp: Stamp,
        *,
        complete: bool,
    ) -> list[Any] | None:
        if item.managed:
            value = stamp.value(item.managed)
            return None if value is None else self._constant(item.name, value, count)
        if values is None:
            if item.default_factory is not None:
                values = [item.new_default() for _ in range(count)]
            elif item.has_default:
                return self._constant(item.name, item.default, count)
            elif item.generated or item.nullable:
                return None
            else:
                raise self._missing(item, positions, 0)
        elif not complete and _ABSENT in values:
            if item.required:
                raise self._missing(item, positions, values.index(_ABSENT))
            values = [item.new_default() if value is _ABSENT else value for value in values]
        return self._bind(item.name, values, positions)

    def _bind(self, name: str, values: list[Any], positions: Sequence[int] | None) -> list[Any]:
        return self._binders[name].bind(values, positions)

    def _constant(self, name: str, value: Any, count: int) -> list[Any]:
        return self._bind(name, [value], None) * count

    def _missing(self, item: FieldSpec, positions: Sequence[int] | None, index: int) -> MissingParameterError:
        error = MissingParameterError(
            f"{self.spec.name}.{item.name} is required.",
            hint=f"Give it, or declare a default or '{item.name}: {item.type.label} | None'.",
            model=self.spec.name,
            field=item.name,
        )
        return error if positions is None else at_row(error, positions[index])


def column_of(rows: Sequence[InputRow], name: str) -> list[Any]:
    """What each row gives for a field, None where it gives nothing."""
    try:
        return [row[name] for row in rows]
    except KeyError:
        return [row.get(name) for row in rows]


def _same_fields(rows: Sequence[InputRow]) -> dict[str, list[Any]] | None:
    """The rows' values by field, None if they do not all give the same fields."""
    if len(set(map(len, rows))) > 1:
        return None
    try:
        return {name: [row[name] for row in rows] for name in rows[0]}
    except KeyError:
        return None


def _all_fields(rows: Sequence[InputRow]) -> dict[str, list[Any]]:
    """The rows' values by field, ``_ABSENT`` where a row does not give it."""
    return {name: [row.get(name, _ABSENT) for row in rows] for name in dict.fromkeys(chain.from_iterable(rows))}


def _where_absent(values: list[Any], *, complete: bool) -> list[int]:
    """Indexes of what is None or, where rows may lack the field, ``_ABSENT``."""
    if None not in values and (complete or _ABSENT not in values):
        return []
    return [index for index, value in enumerate(values) if value is None or value is _ABSENT]


def _groups(rows: Sequence[InputRow]) -> list[list[int]]:
    """Indexes of the rows, grouped by the fields they give."""
    groups: dict[frozenset[str], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(frozenset(row), []).append(index)
    return list(groups.values())


def _pick(positions: Sequence[int] | None, indexes: Sequence[int]) -> Sequence[int] | None:
    return None if positions is None else [positions[index] for index in indexes]
