"""Random models."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from sqlalchemy.dialects.mysql.reserved_words import RESERVED_WORDS_MARIADB, RESERVED_WORDS_MYSQL
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS as POSTGRESQL_WORDS

from dataflow.models import Field, FieldSpec, FieldType, ModelSpec, declare
from dataflow.models.validation import RESERVED
from tests.integration.meaning.values import values


class Colour(Enum):
    RED = "red"
    BIG_RED = "Red"
    GREEN = "green "
    NONE = ""


class Level(Enum):
    LOW = -1
    HIGH = 10
    MIDDLE = 2


#: Names that mean something in SQL, in the parameters of nodes, or only to people.
NAMES = [
    *("name", "description", "metadata", "data", "filter", "fields", "limit", "offset", "sort", "order", "select"),
    *("group", "version", "where", "create", "update", "values", "key", "index", "from", "user", "conditions", "ids"),
    *("table", "primary", "rowid", "excluded", "c0", "größe", "naïve_名", "confirmed", "records", "aggregate", "count"),
]
SQLITE_LIST = """
    abort action add after all alter always analyze and as asc attach autoincrement before begin between by
    cascade case cast check collate column commit conflict constraint create cross current current_date
    current_time current_timestamp database default deferrable deferred delete desc detach distinct do drop each
    else end escape except exclude exclusive exists explain fail filter first following for foreign from full
    generated glob group groups having if ignore immediate in index indexed initially inner insert instead
    intersect into is isnull join key last left like limit match materialized natural no not nothing notnull
    null nulls of offset on or order others outer over partition plan pragma preceding primary query raise range
    recursive references regexp reindex release rename replace restrict returning right rollback row rows
    savepoint select set table temp temporary then ties to transaction trigger unbounded union unique update
    using vacuum values view virtual when where window with without
"""
#: SQLite's own list, https://sqlite.org/lang_keywords.html; the other databases tell theirs.
SQLITE_WORDS = frozenset(SQLITE_LIST.split())
_WORDS = RESERVED_WORDS_MARIADB | RESERVED_WORDS_MYSQL | POSTGRESQL_WORDS | SQLITE_WORDS
#: Names that DataFlow keeps for itself, or gives a meaning of its own.
NOT_FIELDS = RESERVED | {"id", "tenant_id", "version", "created_at", "updated_at", "deleted_at"}
#: Words of SQL.
WORDS = sorted(_WORDS - NOT_FIELDS)
TYPES: list[Any] = [
    *(str, str, int, float, bool, Decimal, Decimal, datetime, date, time, timedelta, UUID, bytes, Colour, Level),
    *(dict, list, Any),
]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Model:
    """A declared model, and its source for messages."""

    spec: ModelSpec
    source: str

    def __repr__(self) -> str:
        return self.source

    @property
    def generated(self) -> bool:
        """Whether the database makes the ids."""
        return self.spec.primary_key.generated


def build(annotations: dict[str, Any], defaults: dict[str, Any] | None = None, **features: bool) -> Model:
    """A model with these fields; each has a table of its own name."""
    body = {"__annotations__": annotations, **(defaults or {}), "__dataflow__": features}
    cls = type("Thing", (), {**body, "__tablename__": f"things_{next(_numbers)}"})
    spec = declare(cls, skip_validation=True)
    fields = ", ".join(
        f"{name}: {_source(hint)}{_options(spec.field(name), defaults or {})}" for name, hint in annotations.items()
    )
    return Model(spec, f"{fields}; {features}")


def _source(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _options(field: FieldSpec, defaults: dict[str, Any]) -> str:
    return f" = {defaults[field.name]}" if field.name in defaults else ""


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A model of two to seven fields."""
    names = draw(st.lists(st.sampled_from(NAMES) | st.sampled_from(WORDS), min_size=2, max_size=7, unique=True))
    features = {name: draw(st.booleans()) for name in ("soft_delete", "versioned")}
    if features["versioned"]:
        names = [name for name in names if name != "version"]
    annotations: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    key = draw(st.sampled_from([None, None, str, UUID]))
    if key is not None:
        annotations["id"] = key
    for name in names:
        annotation = draw(st.sampled_from(TYPES))
        options: dict[str, Any] = {}
        if annotation not in (dict, list, Any):
            use = draw(st.sampled_from(["", "", "", "", "unique", "index"]))
            if use and annotation not in (bool, Colour, Level):
                options[use] = True
        if annotation is Decimal:
            options["precision"], options["scale"] = draw(
                st.sampled_from([(1, 0), (1, 1), (4, 2), (10, 2), (19, 4), (38, 10), (55, 30), (55, 0), (30, 30)])
            )
        if annotation in (str, bytes):
            options["max_length"] = draw(st.sampled_from([None, None, 3, 20, 300]))
        nullable = draw(st.booleans())
        if not options.get("unique") and draw(st.integers(0, 5)) == 5:
            options["default"] = draw(values(_type_of(annotation, options)))
        annotations[name] = annotation | None if nullable and annotation is not Any else annotation
        if nullable and "default" not in options:
            options["default"] = None
        if options:
            defaults[name] = Field(**options)
    return build(annotations, defaults, **features)


def _type_of(annotation: Any, options: dict[str, Any]) -> FieldType:
    """The type that a field of these options gets."""
    return (
        declare(
            type("Probe", (), {"__annotations__": {"probe": annotation}, "probe": Field(**options)}),
            skip_validation=True,
        )
        .field("probe")
        .type
    )
