"""Our errors for what can go wrong in any database, in the same words for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from dataflow.errors import (
    CheckViolationError,
    DatabaseError,
    DatabaseUnavailableError,
    ForeignKeyViolationError,
    InvalidFilterError,
    MissingTableError,
    NotNullViolationError,
    SchemaMismatchError,
    TransientDatabaseError,
    TypeMismatchError,
    UniqueViolationError,
)


def unreachable(masked_url: str, database: str, reason: str) -> DatabaseUnavailableError:
    """The server does not answer, or refuses us; ``context["unreached"]`` says that nothing was asked of it."""
    return DatabaseUnavailableError(
        f"Cannot reach {masked_url}: {_sentence(reason)}",
        hint="Check that the server runs, host and port, user and password, and that the database "
        f"'{database}' exists.",
        url=masked_url,
        unreached=True,
    )


def lost(masked_url: str, reason: str) -> DatabaseUnavailableError:
    """The connection broke while it was used; what the statement did is unknown."""
    return DatabaseUnavailableError(
        f"The connection to {masked_url} was lost: {_sentence(reason)}",
        hint="Check that the server runs. The next call connects again.",
        url=masked_url,
    )


def closed(masked_url: str) -> DatabaseUnavailableError:
    """Somebody closed the database while a call waited."""
    return DatabaseUnavailableError(f"{masked_url} was closed while a call waited for it.", url=masked_url)


def unique(table: str | None, fields: Sequence[str], constraint: str | None) -> UniqueViolationError:
    what = f"the same {' and '.join(fields)}" if fields else f"the same key ({constraint})"
    where = f" in '{table}'" if table else ""
    return UniqueViolationError(
        f"There is already a row{where} with {what}.", table=table, fields=list(fields), constraint=constraint
    )


def foreign_key(
    table: str | None, fields: Sequence[str], constraint: str | None, *, referenced: str | None = None
) -> ForeignKeyViolationError:
    """A row points to a row that does not exist, or rows still point to one that was to go."""
    what = f" ({constraint})" if constraint else ""
    where = f" of '{table}'" if table else ""
    return ForeignKeyViolationError(
        f"A foreign key{where}{what} would point to a row{f' of {referenced!r}' if referenced else ''} that does "
        "not exist.",
        table=table,
        fields=list(fields),
        constraint=constraint,
    )


def not_null(table: str | None, field: str | None) -> NotNullViolationError:
    where = f" of '{table}'" if table else ""
    return NotNullViolationError(
        f"'{field}'{where} must not be NULL." if field else f"A required column{where} must not be NULL.",
        table=table,
        fields=[field] if field else [],
    )


def check(table: str | None, constraint: str | None) -> CheckViolationError:
    where = f" of '{table}'" if table else ""
    return CheckViolationError(f"The check{where} ({constraint}) refuses the row.", table=table, constraint=constraint)


def missing_table(table: str) -> MissingTableError:
    return MissingTableError(
        f"The table '{table}' does not exist.",
        hint="Create it with db.create_tables(), or open the DataFlow with auto_migrate=True.",
        table=table,
    )


def missing_column(reason: str) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"The table lacks a column: {_sentence(reason)}", hint="Bring the table and its model to the same columns."
    )


def transient(reason: str) -> TransientDatabaseError:
    return TransientDatabaseError(_sentence(reason), hint="Another transaction was in the way; a retry may succeed.")


def lost_statement(reason: str) -> DatabaseError:
    """A prepared statement is not where it was prepared, or is another one."""
    return DatabaseError(
        f"A prepared statement is gone: {_sentence(reason)}",
        hint="Behind PgBouncer in transaction mode, set statement_cache_size=0. Elsewhere, do not run DISCARD ALL or "
        "DEALLOCATE on pooled connections.",
    )


def altered(reason: str) -> TransientDatabaseError:
    """A statement was prepared before its table was altered, and its transaction cannot be begun anew."""
    return TransientDatabaseError(
        f"A table was altered while a transaction used it: {_sentence(reason)}", hint="Run the transaction again."
    )


def mismatch(reason: str) -> TypeMismatchError:
    return TypeMismatchError(f"A value does not fit its column: {_sentence(reason)}")


def costly_pattern(database: str, reason: str) -> InvalidFilterError:
    """A regular expression that the database gave up on; what it had found until then is not told."""
    return InvalidFilterError(
        f"The pattern of $regex is too costly for {database}: {_sentence(reason)}",
        hint="Make it simpler: nested repetitions, such as (\\w+ ?)*, cost most.",
    )


def other(reason: str) -> DatabaseError:
    return DatabaseError(f"The database refuses the statement: {_sentence(reason)}")


def no_transaction_settings(database: str) -> DatabaseError:
    """Settings for one transaction were given where there is no such thing."""
    return DatabaseError(
        f"{database} has no settings that end with a transaction.",
        hint="Use them on PostgreSQL only; elsewhere put what they would decide into the statements.",
    )


def left_open() -> DatabaseError:
    """A statement by itself began a transaction."""
    return DatabaseError(
        "The statement left a transaction open, which has been rolled back.",
        hint="Begin transactions with 'async with database.transaction()', and leave autocommit on.",
    )


def aborted() -> DatabaseError:
    """A transaction goes on although an error has ended it."""
    return DatabaseError(
        "The transaction was rolled back by the database when a statement in it failed, so it cannot go on.",
        hint="Let the error leave the 'async with', or run the statement that may fail inside transaction.savepoint().",
    )


def _sentence(text: str) -> str:
    return f"{text.strip().rstrip('.')}."
