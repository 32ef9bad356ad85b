"""Field(…): options of a field in a declaration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from dataflow.models.spec import MISSING


@dataclass(frozen=True, slots=True)
class FieldOptions:
    """What ``Field(…)`` carries; made by :func:`Field`."""

    default: Any = MISSING
    default_factory: Callable[[], Any] | None = None
    unique: bool = False
    index: bool = False
    references: str | None = None
    on_delete: str = "restrict"
    max_length: int | None = None
    precision: int = 38
    scale: int = 10
    events: str = "show"


def Field(  # noqa: N802 - reads as a type in declarations
    default: Any = MISSING,
    *,
    default_factory: Callable[[], Any] | None = None,
    unique: bool = False,
    index: bool = False,
    references: str | None = None,
    on_delete: str = "restrict",
    max_length: int | None = None,
    precision: int = 38,
    scale: int = 10,
    events: Literal["show", "mask", "omit"] = "show",
) -> Any:
    """Options of a field, as its default or in ``Annotated``.

    Args:
        default: Value of rows that do not give one.
        default_factory: Called for each such row instead.
        unique: No two rows may hold the same value.
        index: Keep an index. Text in one, as in a unique field, has at most 640 characters, bytes 2,560.
        references: Name of the model whose id this field holds.
        on_delete: What happens to this row when that one goes: ``"restrict"``, ``"cascade"`` or ``"set null"``.
        max_length: Characters of a text field, or bytes of a bytes field, at most.
        precision: Significant digits of a Decimal field, at most 55.
        scale: Digits after the point of a Decimal field, at most 30.
        events: What change events tell of it: ``"show"`` its value, ``"mask"`` that it changed but ``***`` for the
            value, ``"omit"`` nothing.

    Example:
        >>> class User:
        ...     email: str = Field(unique=True)
        ...     team_id: int = Field(references="Team", on_delete="cascade")
    """
    return FieldOptions(
        default, default_factory, unique, index, references, on_delete, max_length, precision, scale, events
    )
