"""From a ModelSpec to a SQLAlchemy Table: the one place where column types are chosen.

=========  ===================  ====================================  ======================================
kind       PostgreSQL           MySQL / MariaDB                       SQLite
=========  ===================  ====================================  ======================================
STR        TEXT COLLATE "C"     LONGTEXT, VARCHAR(n) in an index      TEXT
INT        BIGINT               BIGINT                                INTEGER
FLOAT      DOUBLE PRECISION     DOUBLE                                REAL
BOOL       BOOLEAN              BOOL (TINYINT(1))                     INTEGER 0/1
DECIMAL    NUMERIC(p, s)        DECIMAL(p, s)                         TEXT, fixed scale
DATETIME   TIMESTAMPTZ          DATETIME(6), UTC                      TEXT ``2026-01-31 12:00:00.000000``, UTC
DATE       DATE                 DATE                                  TEXT ``2026-01-31``
TIME       TIME                 TIME(6)                               TEXT ``12:00:00.000000``
TIMEDELTA  BIGINT microseconds  BIGINT microseconds                   INTEGER microseconds
UUID       UUID                 CHAR(36) ascii_bin                    TEXT, lower case
BYTES      BYTEA                LONGBLOB, VARBINARY(n) in an index    BLOB
JSON       JSONB                JSON                                  TEXT
=========  ===================  ====================================  ======================================

Text compares by code point everywhere; what that is called depends on the server, so the caller names it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from dataflow.errors import ModelError, did_you_mean
from dataflow.models.keys import KEY_BYTES, KEY_CHARACTERS
from dataflow.models.spec import FieldSpec, Managed, ModelSpec
from dataflow.models.types import FieldType, Kind

#: Key of a table's ``info``: statements that PostgreSQL runs after it was created.
POLICY = "postgresql_policy"
#: The setting of a transaction that row-level security goes by.
TENANT_SETTING = "dataflow.tenant_id"


def build_table(
    spec: ModelSpec,
    metadata: sa.MetaData,
    models: Mapping[str, ModelSpec] | None = None,
    *,
    text_collation: str | None = None,
) -> sa.Table:
    """The table of a model, added to ``metadata``.

    Statements are compiled against a table without foreign keys and collations, so that a model may point to one that
    is declared later, and an existing table's own collation holds. DDL gives both.

    Args:
        spec: The model.
        metadata: Where the table belongs.
        models: All models of the instance, to make foreign keys; None for a table without them.
        text_collation: The server's code-point collation for text columns; None leaves it out.

    Raises:
        ModelError: A foreign key points to a model that is not declared, or to one whose id has another type.
    """
    columns = [_column(item, text_collation) for item in spec.fields]
    table = sa.Table(
        spec.table_name,
        metadata,
        *columns,
        sqlite_autoincrement=spec.primary_key.generated,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        info={POLICY: tenant_policy(spec)} if spec.features.row_level_security else {},
    )
    if spec.features.multi_tenant:
        # Serves the references of other tables, and the lists of a tenant's rows by id.
        table.append_constraint(
            sa.UniqueConstraint(*spec.unique_keys[0], name=_name("uq", spec.table_name, *_tenant(spec)))
        )
    if models is not None:
        for item in spec.fields:
            if item.references:
                table.append_constraint(_foreign_key(spec, item, models))
    for item in spec.fields:
        if item.unique:
            key = (*_tenant(spec), item.name)
            table.append_constraint(sa.UniqueConstraint(*key, name=_name("uq", spec.table_name, item.name)))
        elif item.index and not any(index.fields[0] == item.name for index in spec.indexes):
            sa.Index(_name("ix", spec.table_name, item.name), table.c[item.name])
    for index in spec.indexes:
        sa.Index(index.name, *(table.c[name] for name in index.fields), unique=index.unique)
    return table


def column_type(field_type: FieldType, text_collation: str | None = None) -> sa.types.TypeEngine[Any]:
    """The SQLAlchemy type of a field, with its variants for each database."""
    limit = field_type.max_length
    match field_type.kind:
        case Kind.STR:
            in_mysql: sa.types.TypeEngine[Any] = (
                mysql.VARCHAR(limit, charset="utf8mb4", collation=text_collation)
                if limit is not None and limit <= KEY_CHARACTERS
                else mysql.LONGTEXT(charset="utf8mb4", collation=text_collation)
            )
            text = sa.Text().with_variant(sa.Text(collation=text_collation), "postgresql")
            return text.with_variant(in_mysql, "mysql")
        case Kind.INT | Kind.TIMEDELTA:
            return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
        case Kind.FLOAT:
            return sa.Double().with_variant(sa.REAL(), "sqlite")
        case Kind.BOOL:
            return sa.Boolean().with_variant(sa.Integer(), "sqlite")
        case Kind.DECIMAL:
            return sa.Numeric(field_type.precision, field_type.scale).with_variant(sa.Text(), "sqlite")
        case Kind.DATETIME:
            moment = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
            return moment.with_variant(mysql.DATETIME(fsp=6), "mysql")
        case Kind.DATE:
            return sa.Date().with_variant(sa.Text(), "sqlite")
        case Kind.TIME:
            return sa.Time().with_variant(sa.Text(), "sqlite").with_variant(mysql.TIME(fsp=6), "mysql")
        case Kind.UUID:
            short = mysql.CHAR(36, charset="ascii", collation="ascii_bin" if text_collation else None)
            return sa.Text().with_variant(postgresql.UUID(as_uuid=True), "postgresql").with_variant(short, "mysql")
        case Kind.BYTES:
            blob = mysql.VARBINARY(limit) if limit is not None and limit <= KEY_BYTES else mysql.LONGBLOB()
            return sa.LargeBinary().with_variant(blob, "mysql")
        case Kind.JSON:
            stored = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
            return stored.with_variant(sa.Text(), "sqlite")


def tenant_policy(spec: ModelSpec) -> tuple[str, ...]:
    """PostgreSQL's statements that hold the tenants of a table apart, also from its owner.

    A transaction sees the rows of the tenant that its setting ``dataflow.tenant_id`` names, and without one no row.
    """
    table = '"' + spec.table_name.replace('"', '""') + '"'
    # In a subquery the setting is read once for a statement, not once for a row. It is an empty text where an earlier
    # transaction of the connection had it.
    own = f"tenant_id = (SELECT nullif(current_setting('{TENANT_SETTING}', true), ''))"
    return (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY dataflow_tenant ON {table} USING ({own}) WITH CHECK ({own})",
    )


def _column(item: FieldSpec, text_collation: str | None) -> sa.Column[Any]:
    return sa.Column(
        item.name,
        column_type(item.type, text_collation),
        *([sa.Identity()] if item.generated else ()),
        primary_key=item.primary_key,
        nullable=item.nullable,
        autoincrement=item.generated,
    )


def _tenant(spec: ModelSpec) -> tuple[str, ...]:
    return (Managed.TENANT_ID.value,) if spec.features.multi_tenant else ()


def _foreign_key(spec: ModelSpec, item: FieldSpec, models: Mapping[str, ModelSpec]) -> sa.ForeignKeyConstraint:
    assert item.references is not None
    target = models.get(item.references.model)
    if target is None:
        raise ModelError(
            f"{spec.name}.{item.name} points to the model {item.references.model!r}, which is not declared.",
            hint=did_you_mean(item.references.model, models),
        )
    key = target.primary_key
    if key.type.kind is not item.type.kind:
        raise ModelError(
            f"{spec.name}.{item.name} is {item.type.label}, but {target.name}.id is {key.type.label}.",
            hint=f"Declare it as '{item.name}: {key.type.label}'.",
        )
    on_delete = {"restrict": "RESTRICT", "cascade": "CASCADE", "set null": "SET NULL"}[item.references.on_delete]
    # Of two multi-tenant models, a row refers to rows of its own tenant only.
    tenant = _tenant(spec) if target.features.multi_tenant else ()
    if tenant and on_delete == "SET NULL":
        raise ModelError(
            f"{spec.name}.{item.name} has on_delete='set null', which would set the tenant to None as well.",
            hint="Between multi-tenant models use 'restrict' or 'cascade'.",
        )
    return sa.ForeignKeyConstraint(
        [*tenant, item.name],
        [f"{target.table_name}.{name}" for name in (*tenant, key.name)],
        name=_name("fk", spec.table_name, item.name),
        ondelete=on_delete,
    )


def _name(prefix: str, *parts: str) -> str:
    """A constraint name of at most 63 characters, PostgreSQL's limit."""
    name = "_".join((prefix, *parts))
    if len(name) <= 63:
        return name
    return f"{name[:54]}_{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:8]}"
